"""An SFTP server for hostile scripts: it knows a small tree, and answers as it should unless a hook says otherwise."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastssh.sftp import messages
from fastssh.sftp.attributes import SFTPAttributes
from fastssh.sftp.constants import StatusCode
from fastssh.sftp.messages import Request, SFTPName, StatusReply
from fastssh.wire import codec
from tests.hostile.server import Peer, Script
from tests.support.sftp_server import Unframer

Reply = bytes | None  # whole messages with their lengths; None: what a good server says
Hook = Callable[["Session", int, Any], Reply]  # (session, request id, the request's values)

FOLDER = stat.S_IFDIR | 0o755
FILE = stat.S_IFREG | 0o644
LINK = stat.S_IFLNK | 0o777


def attributes(mode: int | None = FILE, size: int | None = 0) -> SFTPAttributes:
    return SFTPAttributes(size, 0, 0, mode, 1_600_000_000, 1_600_000_000)


@dataclass
class Node:
    """A file or folder. ``size`` may be another than the data's; ``names`` is what a folder lists."""

    mode: int | None = FILE
    data: bytes = b""
    size: int | None = None
    names: list[SFTPName] = field(default_factory=list)

    @property
    def attributes(self) -> SFTPAttributes:
        return attributes(self.mode, len(self.data) if self.size is None else self.size)


def entry(name: bytes, node: Node | None = None, longname: bytes = b"") -> SFTPName:
    return SFTPName(name, longname, (node or Node()).attributes)


def folder(*names: SFTPName) -> Node:
    return Node(FOLDER, names=list(names))


def status(number: int, code: int, text: bytes = b"", language: bytes = b"") -> bytes:
    body = bytes((101,)) + codec.uint32(number) + codec.uint32(code) + codec.string(text) + codec.string(language)
    return messages.frame(body)


def reply(kind: int, number: int, body: bytes) -> bytes:
    """Any reply."""
    return messages.frame(bytes((kind,)) + codec.uint32(number) + body)


class Session:
    """Answers one client. ``written`` is what it wrote, by path; ``requests`` the names of what it asked for."""

    def __init__(self, peer: Peer, nodes: Mapping[bytes, Node], hooks: Mapping[str, Hook]) -> None:
        self.peer, self.nodes, self.hooks = peer, nodes, hooks
        self.written: dict[bytes, bytearray] = {}
        self.requests: list[str] = []
        self._listed: set[bytes] = set()
        self._unframer = Unframer()

    def send(self, data: bytes) -> None:
        """Channel data, in packets as small as the client wants them."""
        self.peer.send(*[self.peer.data(data[at : at + 32_000]) for at in range(0, len(data), 32_000)])

    def run(self, version: bytes) -> None:
        first = True
        while data := self.peer.read_channel():
            for message in self._unframer.feed(data):
                self.send(version if first else self._answer(message))
                first = False

    def _answer(self, message: bytes) -> bytes:
        request, number, values = messages.decode_request(message)
        self.requests.append(request.name)
        hook = self.hooks.get(request.name) or self.hooks.get("*")
        answer = hook(self, number, values) if hook is not None else None
        return self.good(request, number, values) if answer is None else answer

    def good(self, request: Request, number: int, values: tuple[Any, ...]) -> bytes:
        """A good server's answer."""
        node = self.nodes.get(values[0]) if values and isinstance(values[0], bytes) else None
        match request.name:
            case "OPEN" if values[1] & 2:
                self.written[values[0]] = bytearray()
                return messages.HANDLE.encode(number, values[0])
            case "WRITE":
                content = self.written[values[0]]
                content[values[1] : values[1] + len(values[2])] = values[2]
            case "REALPATH":
                return messages.NAME.encode(number, (entry(b"/home/alice/" + values[0]),))
            case "STAT" | "LSTAT" | "FSTAT" | "OPEN" | "OPENDIR" | "READ" | "READDIR" if node is None:
                return status(number, StatusCode.NO_SUCH_FILE)
            case "STAT" | "LSTAT" | "FSTAT":
                return messages.ATTRIBUTES.encode(number, node.attributes)
            case "OPEN" | "OPENDIR":
                self._listed.discard(values[0])
                return messages.HANDLE.encode(number, values[0])
            case "READ":
                data = node.data[values[1] : values[1] + values[2]]
                return messages.DATA.encode(number, data) if data else status(number, StatusCode.EOF)
            case "READDIR":
                if values[0] in self._listed:
                    return status(number, StatusCode.EOF)
                self._listed.add(values[0])
                return messages.NAME.encode(number, tuple(node.names))
        return messages.STATUS.encode(number, StatusReply(StatusCode.OK))


def sftp(
    nodes: Mapping[bytes, Node] | None = None,
    *,
    version: bytes | None = None,
    extensions: Mapping[str, bytes] | None = None,
    sessions: list[Session] | None = None,
    session_type: type[Session] = Session,
    **hooks: Hook,
) -> Script:
    """A script that serves SFTP. Hooks are named after requests (``OPEN=``, ``READ=``), ``any_request=`` is for all."""
    if "any_request" in hooks:
        hooks["*"] = hooks.pop("any_request")

    def script(peer: Peer) -> None:
        peer.start()
        session = session_type(peer, nodes or {}, hooks)
        if sessions is not None:
            sessions.append(session)
        session.run(messages.encode_version(dict(extensions or {})) if version is None else version)
        peer.finish()

    return script


def always(answer: Callable[[int], bytes]) -> Hook:
    """This answer, made from the request's id."""
    return lambda session, number, values: answer(number)
