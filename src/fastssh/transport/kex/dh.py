"""Diffie-Hellman with fixed groups: RFC 4253 section 8, RFC 8268."""

from __future__ import annotations

from collections.abc import Generator

from fastssh.transport.kex.groups import DiffieHellman, modp_group
from fastssh.transport.kex.method import Agreement, Context, KexMethod, MethodEffect, Send, receive
from fastssh.wire import codec
from fastssh.wire.messages import KexdhInit, KexdhReply


def method(hash_name: str, bits: int) -> KexMethod:
    """RFC 4253 section 8 with RFC 3526's group of ``bits``."""

    def client(context: Context) -> Generator[MethodEffect, bytes, Agreement]:
        ours = DiffieHellman(modp_group(bits), context.key_bytes, context.random)
        yield Send(KexdhInit(ours.public))
        reply = yield from receive(KexdhReply)
        k = codec.mpint(ours.shared(reply.f))
        return context.verify(reply.host_key, reply.signature, codec.mpint(ours.public) + codec.mpint(reply.f), k)

    def server(context: Context) -> Generator[MethodEffect, bytes, Agreement]:
        init = yield from receive(KexdhInit)
        ours = DiffieHellman(modp_group(bits), context.key_bytes, context.random)
        k = codec.mpint(ours.shared(init.e))
        agreement = context.sign(codec.mpint(init.e) + codec.mpint(ours.public), k)
        yield Send(KexdhReply(context.host_key_blob, ours.public, agreement.signature))
        return agreement

    return KexMethod(hash_name, client, server)


METHODS = {
    "diffie-hellman-group14-sha256": method("sha256", 2048),
    "diffie-hellman-group16-sha512": method("sha512", 4096),
    "diffie-hellman-group18-sha512": method("sha512", 8192),
}
