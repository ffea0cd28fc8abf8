"""The legacy SCP protocol in memory: steps that are given bytes, and two of them joined."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from fastssh.scp.names import Check, anything
from fastssh.scp.sink import Sink
from fastssh.scp.source import Source
from fastssh.scp.steps import Data, Line, Steps, Want
from fastssh.sftp.filesystem import FileSystem, LocalFileSystem
from fastssh.sftp.tree import CopyObserver, CopyOptions, CopyReport


class Watcher(CopyObserver):
    """Writes down what failed."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    def failed(self, name: str, error: Any) -> None:
        self.failures.append(str(error))


class Talk:
    """One side. ``sent`` is what it said, ``result`` what its steps gave; an error of theirs is raised."""

    def __init__(self, steps: Steps[CopyReport], *, piece: int = 1 << 30) -> None:
        self._steps, self._piece = steps, piece
        self._input = b""
        self._want: Want | None = None
        self.sent = b""
        self.result: CopyReport | None = None
        self._step(None)

    def _step(self, value: bytes | None) -> None:
        try:
            self._want = self._steps.send(value)  # type: ignore[arg-type]
        except StopIteration as end:
            self._want, self.result = None, end.value
        except BaseException:
            self._want = None
            raise

    def give(self, data: bytes = b"", *, end: bool = False) -> None:
        """Bytes of the other side, and its end."""
        self._input += data
        while self._want is not None:
            if isinstance(self._want, bytes):
                self.sent += self._want
                self._step(b"")
                continue
            taken = self._available(self._want, end)
            if taken is None:
                return
            self._step(taken)

    def _available(self, want: Line | Data, end: bool) -> bytes | None:
        if isinstance(want, Line):
            at = self._input.find(b"\n", 0, want.limit) + 1
            if not at and len(self._input) < want.limit and not end:
                return None
            count = at or min(want.limit, len(self._input))
        else:
            if not self._input and not end:
                return None
            count = min(want.limit, len(self._input), self._piece)
        taken, self._input = self._input[:count], self._input[count:]
        return taken

    def take(self) -> bytes:
        said, self.sent = self.sent, b""
        return said

    @property
    def over(self) -> bool:
        return self._want is None


def sink(
    target: Path | str, data: bytes, *, check: Check = anything, observer: Any = None, piece: int = 1 << 30,
    files: FileSystem | None = None, **options: Any,
) -> tuple[CopyReport, bytes]:  # fmt: skip
    """(what a sink did with ``data``, what it said). Raises what it raises."""
    steps = Sink(
        files or LocalFileSystem("/"), str(target).encode(), CopyOptions(**options), observer or Watcher(), check=check
    ).steps()
    with closing(steps):
        talk = Talk(steps, piece=piece)
        talk.give(data, end=True)
        assert talk.result is not None
        return talk.result, talk.sent


def copied(
    sources: list[Path], target: Path, *, source_options: dict[str, Any] | None = None, piece: int = 1 << 30,
    **options: Any,
) -> tuple[CopyReport, CopyReport, list[str]]:  # fmt: skip
    """A source and a sink joined: what each of them did, and what failed."""
    watcher = Watcher()
    files = LocalFileSystem("/")
    one = Talk(
        Source(
            files, [str(path).encode() for path in sources], CopyOptions(**(source_options or options)), watcher
        ).steps(),
        piece=piece,
    )
    other = Talk(Sink(files, str(target).encode(), CopyOptions(**options), watcher).steps(), piece=piece)
    other.give()
    while not one.over:
        one.give(other.take())
        other.give(one.take(), end=one.over)
    assert one.result is not None
    assert other.result is not None
    return one.result, other.result, watcher.failures
