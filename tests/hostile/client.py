"""The client under attack, and what is asked of it whatever happens: an end soon, one clear line, nothing left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import re
import resource
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import fastssh
from fastssh.aio.client import ClientConnection
from fastssh.errors import SSHError
from fastssh.keys.known_hosts import add_known_host
from tests.hostile.server import HostileServer

HANG_SECONDS = 25.0  # a client that takes this long waits for something that never comes
LONGEST_LINE = 2048  # characters of a message for people
MIB = 1024 * 1024

Use = Callable[[ClientConnection], Awaitable[object]]


def options(server: HostileServer, **more: Any) -> dict[str, Any]:
    """A client that trusts the server's key, and has neither keys nor anybody to ask."""
    given: dict[str, Any] = {
        "user": "alice",
        "agent_socket": "none",
        "identity_files": (),
        "user_known_hosts": (os.devnull,),
        "global_known_hosts": (),
        "strict_host_key_checking": "no",
    }
    given.update(more)
    return given


async def run(connection: ClientConnection) -> None:
    """The least one can do with a connection."""
    await connection.run("true")


def check_line(text: str) -> None:
    """One line that people can read on a terminal."""
    assert text
    assert text.isprintable(), ascii(text)[:400]
    assert len(text) <= LONGEST_LINE, f"{len(text)} characters: {text[:200]}..."


class Loop:
    """Watches the running loop: errors that nobody caught, tasks left over."""

    def __init__(self) -> None:
        self.uncaught: list[dict[str, Any]] = []
        self._loop = asyncio.get_running_loop()
        self._tasks = asyncio.all_tasks()
        self._loop.set_exception_handler(lambda _, context: self.uncaught.append(context))

    async def check(self) -> None:
        for _ in range(5):  # cancelled tasks need a turn to end
            await asyncio.sleep(0)
        gc.collect(0)
        assert not self.uncaught, self.uncaught
        left = {task for task in asyncio.all_tasks() - self._tasks if not task.done()}
        assert not left, left


async def refused(
    server: HostileServer, kind: type[BaseException], match: str, use: Use = run, *, follow_up: bool = True, **more: Any
) -> Any:
    """The client must end with ``kind`` and a line that ``match`` is found in; then a good connection must work."""
    loop = Loop()
    with pytest.raises(kind) as caught:
        async with asyncio.timeout(HANG_SECONDS):
            async with fastssh.connect("127.0.0.1", server.port, **options(server, **more)) as connection:
                await use(connection)
    error = caught.value
    assert isinstance(error, SSHError), repr(error)
    check_line(str(error))
    assert re.search(match, str(error)), str(error)[:400]
    await loop.check()
    if follow_up:
        await works(server)
    return error


async def survives(server: HostileServer, use: Use = run, **more: Any) -> Any:
    """The client must get through, and what it started must be over afterwards."""
    loop = Loop()
    async with asyncio.timeout(HANG_SECONDS):
        async with fastssh.connect("127.0.0.1", server.port, **options(server, **more)) as connection:
            result = await use(connection)
    await loop.check()
    return result


async def works(server: HostileServer) -> None:
    """A later connection is as good as any."""
    async with asyncio.timeout(HANG_SECONDS):
        async with fastssh.connect("127.0.0.1", server.port, **options(server)) as connection:
            assert (await connection.run("true")).stdout == b"ok\n"


# --- memory -------------------------------------------------------------------------------------------------------


def _peak() -> int:
    """Bytes of the most memory in use since :func:`_reset`."""
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@contextlib.contextmanager
def memory_bounded(most: int = 24 * MIB) -> Iterator[None]:
    """Not more than ``most`` bytes above what is in use now, scripts included: they reuse what they send."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a kernel that does not let the mark be set back only makes this lenient
            Path("/proc/self/clear_refs").write_text("5")
    before = _peak()
    yield
    grown = _peak() - before
    assert grown <= most, f"{grown / MIB:.1f} MiB more than before"


# --- fastssh-scp --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """How a fastssh-scp ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        return self.stderr.splitlines()


class Sandbox:
    """A folder with a target for downloads in it, and everything around that must not change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"
        self.target = root / "work" / "target"
        self.known_hosts = root / "known_hosts"
        self.home.mkdir()
        self.target.mkdir(parents=True)
        (root / "work" / "victim").write_text("untouched\n")
        (self.home / ".ssh").mkdir(mode=0o700)
        (self.home / ".ssh" / "authorized_keys").write_text("untouched\n")
        self._before = self._outside()

    def _outside(self) -> dict[str, tuple[int, bytes]]:
        found = {}
        for directory, names, files in os.walk(self.root):
            if Path(directory) == self.target.parent:
                names.remove(self.target.name)
            for name in names + files:
                path = Path(directory) / name
                if path == self.known_hosts:
                    continue
                found[str(path)] = (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        return found

    def check(self) -> None:
        """Nothing outside the target was made, changed or removed."""
        assert self._outside() == self._before

    async def scp(
        self, server: HostileServer, *arguments: str, signals: tuple[asyncio.Event, int] | None = None
    ) -> Ended:
        """Runs fastssh-scp; ``{host}`` in an argument is the server, ``{target}`` the target folder. ``signals``: when
        to send it which."""
        add_known_host(self.known_hosts, "127.0.0.1", server.port, server.host_key.public, hashed=False)
        command = [
            sys.executable, "-X", "dev", "-m", "fastssh.cli.scp.command", "-P", str(server.port), "-F", "none",
            "-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={self.known_hosts}",
            "-o", f"GlobalKnownHostsFile={os.devnull}", "-o", "User=alice",
            *[argument.format(host="127.0.0.1", target=self.target) for argument in arguments],
        ]
        process = await asyncio.create_subprocess_exec(
            *command, cwd=self.root / "work", stdin=asyncio.subprocess.DEVNULL, start_new_session=True,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={
                "HOME": str(self.home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8",
                "PYTHONPATH": os.pathsep.join(sys.path), "FASTSSH_DEBUG": "1",
            },
        )
        communication = asyncio.ensure_future(process.communicate())
        try:
            async with asyncio.timeout(HANG_SECONDS):
                if signals is not None:
                    await signals[0].wait()
                    process.send_signal(signals[1])
                stdout, stderr = await asyncio.shield(communication)
        except TimeoutError:
            process.kill()
            _, stderr = await communication
            raise AssertionError(f"fastssh-scp hangs; it said {stderr[-2000:]!r}") from None
        assert process.returncode is not None
        # Development mode remarks on slow callbacks: how fast this machine is, is not what is tested.
        said = re.sub(r"(?m)^Executing <.*> took [0-9.]+ seconds\n", "", stderr.decode())
        return Ended(process.returncode, stdout.decode(), said)

    async def fails(self, server: HostileServer, match: str, *arguments: str, status: int | None = None) -> Ended:
        """fastssh-scp must end with an error that says ``match``, and touch nothing but the target."""
        ended = await self.scp(server, *arguments)
        assert ended.status == status if status is not None else ended.status in (1, 255), ended
        assert "Traceback" not in ended.stderr, ended.stderr
        assert "fastssh-scp: unexpected " not in ended.stderr, ended.stderr
        for line in ended.lines:
            check_line(line)
        assert re.search(match, ended.stderr), ended.stderr
        self.check()
        return ended
