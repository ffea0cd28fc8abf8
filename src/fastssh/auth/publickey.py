"""What both sides of publickey authentication must agree on to the byte (RFC 4252 section 7, OpenSSH PROTOCOL 3.1)."""

from __future__ import annotations

from typing import Final, NamedTuple

from fastssh.wire import codec
from fastssh.wire.messages import UserauthRequest
from fastssh.wire.requests import PublickeyHostboundQuery, PublickeyQuery

SERVICE: Final = "ssh-connection"
PUBLICKEY: Final = "publickey"
HOSTBOUND: Final = "publickey-hostbound-v00@openssh.com"


class SignedRequest(NamedTuple):
    """A publickey request without its signature. With ``host_key`` it is the host-bound method."""

    user: str
    service: str
    algorithm: str
    blob: bytes
    host_key: bytes | None = None

    @property
    def unsigned(self) -> UserauthRequest:
        """The request up to where its signature begins, has_signature being TRUE."""
        if self.host_key is None:
            data = PublickeyQuery(True, self.algorithm, self.blob).body()
            return UserauthRequest(self.user, self.service, PUBLICKEY, data)
        data = PublickeyHostboundQuery(True, self.algorithm, self.blob, self.host_key).body()
        return UserauthRequest(self.user, self.service, HOSTBOUND, data)

    def to_sign(self, session_id: bytes) -> bytes:
        """What the signature is over: it binds user, service, key and this one connection."""
        return codec.string(session_id) + self.unsigned.encode()

    def signed(self, signature: bytes) -> UserauthRequest:
        """The whole request; ``signature`` is the wire signature blob."""
        request = self.unsigned
        return UserauthRequest(
            request.user, request.service, request.method, request.method_data + codec.string(signature)
        )
