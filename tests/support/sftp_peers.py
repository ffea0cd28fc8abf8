"""SFTP servers to ask one request after the other: ours in memory, and OpenSSH's through a pipe."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from fastssh.sftp import messages as m
from fastssh.sftp.attributes import SFTPAttributes
from fastssh.sftp.beneath import Beneath, by_kernel, walk
from fastssh.sftp.constants import MAX_MESSAGE, MAX_TRANSFER
from fastssh.sftp.filesystem import FileSystem, LocalFileSystem
from fastssh.sftp.rooted import RootedFileSystem
from fastssh.sftp.server import SFTPServer

STOCK = Path("/usr/lib/openssh/sftp-server")
BENEATH: dict[str, Beneath] = {"openat2": by_kernel, "walk": walk}
NO_ATTRIBUTES = SFTPAttributes()


def limited(**limits: int) -> m.SFTPLimits:
    """The usual limits, but for these."""
    usual = {"max_packet_length": MAX_MESSAGE, "max_read_length": MAX_TRANSFER, "max_write_length": MAX_TRANSFER}
    return m.SFTPLimits(**usual | {"max_open_handles": 100} | limits)


class Answer(NamedTuple):
    """The kind of reply, and the status code or the value."""

    kind: m.Reply
    value: Any


def understand(request: m.Request, number: int, message: bytes) -> Answer:
    """The one reply to one request, without its length."""
    assert int.from_bytes(message[1:5], "big") == number
    kind = m.STATUS if message[0] == m.STATUS.number else request.reply
    assert message[0] == kind.number
    value = kind.decode(message)
    return Answer(kind, value.code if kind is m.STATUS else value)


class Asked:
    """Base: one request, one answer."""

    def __init__(self) -> None:
        self._id = 0

    def exchange(self, message: bytes) -> bytes:
        """The reply to a message, both with their lengths."""
        raise NotImplementedError

    def ask(self, request: m.Request, *values: Any) -> Answer:
        self._id += 1
        reply = self.exchange(request.encode(self._id, *values))
        assert int.from_bytes(reply[:4], "big") == len(reply) - 4
        return understand(request, self._id, reply[4:])

    def status(self, request: m.Request, *values: Any) -> int:
        """The code of a request that is answered with one."""
        answer = self.ask(request, *values)
        assert answer.kind is m.STATUS, answer
        return int(answer.value)

    def value(self, request: m.Request, *values: Any) -> Any:
        """The value of a request that is answered with one."""
        answer = self.ask(request, *values)
        assert answer.kind is request.reply, answer
        return answer.value

    def listing(self, path: bytes) -> list[m.SFTPName]:
        """A directory, read to its end."""
        handle = self.value(m.OPENDIR, path)
        entries: list[m.SFTPName] = []
        while (answer := self.ask(m.READDIR, handle)).kind is m.NAME:
            entries += answer.value
        assert answer.value == 1
        assert self.status(m.CLOSE, handle) == 0
        return entries

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()


class Ours(Asked):
    """A session of ours, begun unless ``begin`` is false. What is long is worked off at once, or with ``lazy`` not."""

    def __init__(self, filesystem: FileSystem, *, begin: bool = True, lazy: bool = False, **options: Any) -> None:
        super().__init__()
        self.replies: list[bytes] = []
        self.lazy = lazy
        self.filesystem = filesystem
        options.setdefault("now", time.time)
        self.server = SFTPServer(filesystem, self.replies.append, **options)
        if begin:
            self.exchange(m.encode_init())

    def exchange(self, message: bytes) -> bytes:
        self.server.receive(message[4:])
        while not self.lazy and self.server.work():
            pass
        return self.replies.pop(0) if self.replies else b""

    def close(self) -> None:
        self.server.close()
        if isinstance(self.filesystem, RootedFileSystem):
            self.filesystem.close()


class Stock(Asked):
    """OpenSSH's sftp-server, started in ``directory``."""

    def __init__(self, directory: Path, *options: str) -> None:
        super().__init__()
        command = [str(STOCK), *options]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=directory)
        self.exchange(m.encode_init())

    def exchange(self, message: bytes) -> bytes:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(message)
        self._process.stdin.flush()
        length = self._process.stdout.read(4)
        return length + self._process.stdout.read(int.from_bytes(length, "big"))

    def close(self) -> None:
        self._process.communicate(timeout=30)


def local(directory: Path, **options: Any) -> Ours:
    """Ours, with the whole machine behind it, at home in ``directory``."""
    return Ours(LocalFileSystem(directory), **options)


def rooted(directory: Path, beneath: str = "openat2", **options: Any) -> Ours:
    """Ours, with ``directory`` for a root."""
    return Ours(RootedFileSystem(directory, beneath=BENEATH[beneath]), **options)


SERVERS: dict[str, Callable[..., Ours]] = {
    "local": local,
    "openat2": partial(rooted, beneath="openat2"),
    "walk": partial(rooted, beneath="walk"),
}
