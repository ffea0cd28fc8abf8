"""A client that does the least a login takes, so that a server is the limit: many at a time, in one thread.

It speaks curve25519-sha256, ssh-ed25519 and aes128-gcm@openssh.com, checks the host key's signature, logs in with an
Ed25519 key without asking whether it would do, and is done when a request behind that was answered. A login costs it
about 0.7 ms of CPU time, a fifth of what fastssh's own client takes, which reads configuration, keys and known hosts.
"""

from __future__ import annotations

import hashlib
import selectors
import socket
import struct
from collections.abc import Generator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

SECONDS = 60.0  # in which some connection has to have something to do
IDENTIFICATION = b"SSH-2.0-load"
#: Yields bytes to send, or None to be resumed with bytes received.
Login = Generator[bytes | None, bytes, None]
Reading = Generator[None, bytes, bytes]


class LoadFailed(Exception):
    """A login did not go as it should."""


def string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def names(*values: str) -> bytes:
    return string(",".join(values).encode())


def strings(data: bytes, offset: int, count: int) -> list[bytes]:
    found = []
    for _ in range(count):
        (length,) = struct.unpack_from(">I", data, offset)
        found.append(data[offset + 4 : offset + 4 + length])
        offset += 4 + length
    return found


KEXINIT = b"".join((
    b"\x14", bytes(16), names("curve25519-sha256", "kex-strict-c-v00@openssh.com"), names("ssh-ed25519"),
    names("aes128-gcm@openssh.com") * 2, names("hmac-sha2-256") * 2, names("none") * 2, names() * 2, bytes(5),
))  # fmt: skip
USERAUTH, CONNECTION, PUBLICKEY, ED25519 = (
    string(name) for name in (b"ssh-userauth", b"ssh-connection", b"publickey", b"ssh-ed25519")
)
QUESTION = b"\x50" + string(b"keepalive@openssh.com") + b"\x01"  # SSH_MSG_GLOBAL_REQUEST with an answer


def plain_packet(payload: bytes) -> bytes:
    padding = 8 - (len(payload) + 5) % 8 + 8
    return struct.pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding)


class Direction:
    """aes128-gcm@openssh.com (RFC 5647) one way."""

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._aead, self._fixed, self._counter = AESGCM(key), iv[:4], int.from_bytes(iv[4:], "big")

    def _iv(self) -> bytes:
        iv = self._fixed + self._counter.to_bytes(8, "big")
        self._counter = (self._counter + 1) % 2**64
        return iv

    def seal(self, payload: bytes) -> bytes:
        padding = 16 - (len(payload) + 1) % 16 + 16
        length = struct.pack(">I", 1 + len(payload) + padding)
        return length + self._aead.encrypt(self._iv(), bytes((padding,)) + payload + bytes(padding), length)

    def open(self, length: bytes, sealed: bytes) -> bytes:
        plain = self._aead.decrypt(self._iv(), sealed, length)
        return plain[1 : len(plain) - plain[0]]


def take(buffer: bytearray, count: int) -> Reading:
    while len(buffer) < count:
        received = yield None
        if not received:
            raise LoadFailed(f"the server closed the connection: {bytes(buffer[:100])!r}")
        buffer += received
    taken = bytes(buffer[:count])
    del buffer[:count]
    return taken


def expect(message: bytes, number: int) -> bytes:
    if message[0] != number:
        raise LoadFailed(f"message {number} was expected, not {message[:100]!r}")
    return message


def login(user: bytes, key: Ed25519PrivateKey) -> Login:
    """One login, as RFC 4253, RFC 8731 and RFC 4252 have it."""
    buffer = bytearray()

    def packet() -> Reading:
        length, padding = struct.unpack(">IB", (yield from take(buffer, 5)))
        return (yield from take(buffer, length - 1))[: length - 1 - padding]

    yield IDENTIFICATION + b"\r\n" + plain_packet(KEXINIT)
    line = b""
    while not line.endswith(b"\n"):
        line += yield from take(buffer, 1)
    theirs = expect((yield from packet()), 20)
    secret = X25519PrivateKey.generate()
    public = secret.public_key().public_bytes_raw()
    yield plain_packet(b"\x1e" + string(public))
    host_key, value, signature = strings(expect((yield from packet()), 31), 1, 3)
    shared = secret.exchange(X25519PublicKey.from_public_bytes(value)).lstrip(b"\0")
    k = string(b"\0" * (shared[0] >> 7) + shared)
    h = hashlib.sha256(b"".join(map(string, (
        IDENTIFICATION, line.rstrip(), KEXINIT, theirs, host_key, public, value,
    ))) + k).digest()  # fmt: skip
    Ed25519PublicKey.from_public_bytes(strings(host_key, 0, 2)[1]).verify(strings(signature, 0, 2)[1], h)
    expect((yield from packet()), 21)

    def derived(letter: bytes) -> bytes:
        return hashlib.sha256(k + h + letter + h).digest()

    sending = Direction(derived(b"C")[:16], derived(b"A")[:12])
    receiving = Direction(derived(b"D")[:16], derived(b"B")[:12])

    def message() -> Reading:
        length = yield from take(buffer, 4)
        return receiving.open(length, (yield from take(buffer, int.from_bytes(length, "big") + 16)))

    blob = ED25519 + string(key.public_key().public_bytes_raw())
    request = b"\x32" + string(user) + CONNECTION + PUBLICKEY + b"\x01" + ED25519 + string(blob)
    signed = ED25519 + string(key.sign(string(h) + request))
    yield plain_packet(b"\x15") + sending.seal(b"\x05" + USERAUTH) + sending.seal(request + string(signed))
    expect((yield from message()), 6)
    expect((yield from message()), 52)
    yield sending.seal(QUESTION)
    while (yield from message())[0] not in (81, 82):  # behind the login other things may be told
        pass


def run(address: tuple[str, int], user: str, key_file: Path, logins: int, at_once: int) -> None:
    """So many logins, ``at_once`` at a time. Raises LoadFailed for the first that fails."""
    key = load_ssh_private_key(key_file.read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    left = logins
    with selectors.DefaultSelector() as selector:
        while left or selector.get_map():
            while left and len(selector.get_map()) < at_once:
                left -= 1
                sock = socket.create_connection(address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                running = login(user.encode(), key)
                selector.register(sock, selectors.EVENT_READ, (sock, running))
                _advance(selector, sock, running, None)
            ready = selector.select(SECONDS)
            if not ready:
                raise LoadFailed(f"nothing happened for {SECONDS:.0f} seconds")
            for entry, _ in ready:
                _advance(selector, *entry.data, entry.data[0].recv(65536))


def _advance(selector: selectors.BaseSelector, sock: socket.socket, running: Login, received: bytes | None) -> None:
    try:
        to_send = next(running) if received is None else running.send(received)
        while to_send is not None:
            sock.sendall(to_send)
            to_send = next(running)
    except StopIteration:
        selector.unregister(sock)
        sock.close()
