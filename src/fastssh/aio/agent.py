"""An ssh-agent over its Unix socket: one request at a time, each with a deadline, every reply bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from fastssh.errors import AgentError
from fastssh.keys import agent as codec
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from fastssh.keys.private import PrivateKey

ANSWER_SECONDS: Final = 10.0  # for what the agent can do by itself
CONFIRM_SECONDS: Final = 120.0  # for a signature: somebody may have to confirm it, or to touch a token

T = TypeVar("T")


class AgentClient:
    """Made by :meth:`connect`; every failure is an AgentError of one line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> None:
        self._reader, self._writer, self._path = reader, writer, path
        self._frames = codec.Frames()
        self._replies: deque[bytes] = deque()
        self._busy = asyncio.Lock()

    @classmethod
    async def connect(cls, path: str) -> AgentClient:
        """Connects to the agent that listens at ``path``."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await asyncio.open_unix_connection(path)
        except (OSError, ValueError) as error:  # ValueError: a path too long for a socket address, or with NUL
            reason = getattr(error, "strerror", None) or str(error) or "no answer"
            raise AgentError(f"agent at {printable(path)}: {reason}") from error
        return cls(reader, writer, path)

    async def identities(self) -> tuple[codec.Identity, ...]:
        """The keys it holds, in its order."""
        return await self._request(codec.request_identities(), codec.identities, ANSWER_SECONDS)

    async def sign(self, blob: bytes, data: bytes, algorithm: str) -> bytes:
        """A signature blob over ``data`` by the key ``blob``, made with ``algorithm``."""
        request = codec.sign_request(blob, data, codec.sign_flags(algorithm))
        return await self._request(request, lambda reply: codec.signature(reply, algorithm), CONFIRM_SECONDS)

    async def add(self, key: PrivateKey, comment: str, *, lifetime: int = 0, confirm: bool = False) -> None:
        """Gives the agent a key, for ``lifetime`` seconds (0: for ever); with ``confirm`` it asks at each use."""
        constraints = codec.Constraints(lifetime, confirm) if lifetime or confirm else None
        reply = await self._request(
            codec.add_identity(key, comment, constraints), codec.decode_reply, ANSWER_SECONDS
        )
        if not isinstance(reply, codec.Success):
            raise AgentError(f"agent at {printable(self._path)}: refused the key")

    async def session_bind(self, host_key: bytes, session_id: bytes, signature: bytes, *, forwarding: bool) -> bool:
        """Ties this agent connection to an SSH connection; False when the agent does not know how, or refuses."""
        request = codec.session_bind(host_key, session_id, signature, forwarding=forwarding)
        reply = await self._request(request, codec.decode_reply, ANSWER_SECONDS)
        return isinstance(reply, codec.Success)

    async def _request(self, frame: bytes, parse: Callable[[bytes], T], seconds: float) -> T:
        async with self._busy:
            try:
                async with asyncio.timeout(seconds):
                    self._writer.write(frame)
                    await self._writer.drain()
                    reply = await self._reply()
                return parse(reply)
            except BaseException as error:
                self.close()  # a late reply must not be taken for that to the next request
                if isinstance(error, OSError):
                    raise AgentError(f"agent at {printable(self._path)}: {error.strerror or 'no answer'}") from error
                raise

    async def _reply(self) -> bytes:
        while not self._replies:
            data = await self._reader.read(65536)
            if not data:
                raise AgentError(f"agent at {printable(self._path)}: closed the connection")
            self._replies.extend(self._frames.feed(data))
        if len(self._replies) > 1 or self._frames.pending:
            raise AgentError(f"agent at {printable(self._path)}: sent more than one reply")
        return self._replies.popleft()

    def close(self) -> None:
        """Harmless when closed already."""
        self._writer.close()
