"""Several SFTP sessions in memory to one folder, and a test that decides which of them takes its next step."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from fastssh.errors import ConnectionLostError
from fastssh.sftp.messages import Request, SFTPLimits
from fastssh.sftp.session import Session
from tests.support.sftp_memory import MemoryLink, Result
from tests.support.sftp_server import Lie, Server


class SteppedLink(MemoryLink):
    """Transfers do one READ or WRITE a step, in order, as the plane's do on one channel."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        super().__init__(answer)
        self.under_way: list[tuple[int, Iterator[None]]] = []

    def _begin(self, result: Result, steps: Iterator[None]) -> int:
        number = len(self.results)
        self.results[number] = result
        self.under_way.append((number, steps))
        return number

    def step(self, session: Session) -> bool:
        """One reply of the server's is heard, or one piece of a file moves; False when there is nothing to do."""
        if self.closed:
            return False
        if self.replies:
            for message in self.unframer.feed(self.replies.pop(0)):
                session.receive(message)
            return True
        if not self.under_way:
            return False
        number, steps = self.under_way[0]
        result = self.results[number]
        if result.cancelled or result.status or next(steps, True) is True:
            self.under_way.pop(0)
            session.transfer_done(number)
        return True


class Party:
    """``count`` sessions, the later ones companions of the first. ``log``: (session, request, values), as answered.

    ``lies``: of single sessions' servers; ``watch`` is called after each answer.
    """

    def __init__(self, count: int, lies: dict[int, Lie] | None = None, *, join: bool = True) -> None:
        self.log: list[tuple[int, str, tuple[Any, ...]]] = []
        self.watch: Callable[[int, str, tuple[Any, ...]], None] = lambda session, name, values: None
        self.lies = lies or {}
        self.servers = [Server(self._listener(number)) for number in range(count)]
        self.links = [SteppedLink(server.receive) for server in self.servers]
        self.sessions = [Session(link) for link in self.links]
        for server, link, session in zip(self.servers, self.links, self.sessions, strict=True):
            server.limits = SFTPLimits(262_144, 32_768, 32_768, 100)
            session.start(lambda error: None)
            while link.step(session):
                pass
        if join:
            for number in range(1, count):
                self.join(number)

    def _listener(self, session: int) -> Lie:
        def listen(server: Server, request: Request, number: int, values: tuple[Any, ...], reply: bytes) -> bytes:
            lie = self.lies.get(session)
            reply = reply if lie is None else lie(server, request, number, values, reply)
            self.log.append((session, request.name, values))
            self.watch(session, request.name, values)
            return reply

        return listen

    def join(self, number: int) -> None:
        self.sessions[0].add_companion(self.sessions[number], 1_600_000_000)

    def lose(self, number: int) -> None:
        """The connection of one session breaks."""
        self.links[number].closed = True
        self.servers[number].close()
        self.sessions[number].closed(ConnectionLostError("connection lost"))

    def step(self, number: int) -> bool:
        return self.links[number].step(self.sessions[number])

    def run(self, source: random.Random, weights: list[int] | None = None, most: int = 100_000) -> None:
        """Steps in random order until there is nothing to do."""
        for _ in range(most):
            numbers = range(len(self.links))
            [first] = source.choices(numbers, weights)
            if not any(self.step(number) for number in (first, *numbers)):
                return
        raise AssertionError("there is no end to it")

    def requests(self, name: str, session: int | None = None) -> list[tuple[Any, ...]]:
        return [values for who, what, values in self.log if what == name and session in (None, who)]

    def open_handles(self) -> int:
        return sum(len(server._handles) for server in self.servers)

    def close(self) -> None:
        for server in self.servers:
            server.close()
