"""Diffie-Hellman group exchange: RFC 4419 with SHA-256, and RFC 8270's minimum of 2048 bits."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from fastssh.transport.kex.groups import MAX_BITS, MIN_BITS, DiffieHellman, Group, check_group, modp_groups
from fastssh.transport.kex.method import Agreement, Context, KexMethod, MethodEffect, Send, receive, refused
from fastssh.wire import codec
from fastssh.wire.messages import KexDhGexGroup, KexDhGexInit, KexDhGexReply, KexDhGexRequest

# NIST SP 800-57 part 1 table 2: symmetric strength in bits, and the modulus that matches it.
_STRENGTHS = ((112, 2048), (128, 3072), (192, 7680))


def preferred_bits(key_bytes: int) -> int:
    """The modulus size to ask for, for keys of so many bytes; as OpenSSH's dh_estimate."""
    return next((modulus for strength, modulus in _STRENGTHS if key_bytes * 8 <= strength), MAX_BITS)


def choose_group(groups: Sequence[Group], request: KexDhGexRequest, pick: bytes) -> Group:
    """A server's choice: the smallest size not below the preferred one, else the largest below it; among groups of that
    size ``pick`` decides. Raises ProtocolError if the request contradicts itself or nothing fits."""
    minimum, maximum = max(MIN_BITS, request.minimum), min(MAX_BITS, request.maximum)
    if not request.minimum <= request.preferred <= request.maximum or minimum > maximum:
        raise refused(
            f"group request of {request.minimum} to {request.maximum} bits, "
            f"preferred {request.preferred}, cannot be met"
        )
    sizes = sorted({group.bits for group in groups if minimum <= group.bits <= maximum})
    if not sizes:
        raise refused(f"no group of {minimum} to {maximum} bits")
    size = next((size for size in sizes if size >= request.preferred), sizes[-1])
    candidates = [group for group in groups if group.bits == size]
    return candidates[int.from_bytes(pick, "big") % len(candidates)]


def _values(request: KexDhGexRequest, group: Group, e: int, f: int) -> bytes:
    """What goes between K_S and K into H (RFC 4419 section 3)."""
    return request.body() + b"".join(map(codec.mpint, (group.p, group.g, e, f)))


def client(context: Context) -> Generator[MethodEffect, bytes, Agreement]:
    request = KexDhGexRequest(MIN_BITS, preferred_bits(context.key_bytes), MAX_BITS)
    yield Send(request, f"({request.minimum}<{request.preferred}<{request.maximum})")
    proposal = yield from receive(KexDhGexGroup)
    group = Group(proposal.p, proposal.g)
    check_group(group, request.minimum, request.maximum)
    ours = DiffieHellman(group, context.key_bytes, context.random)
    yield Send(KexDhGexInit(ours.public), before=f"bits set: {ours.public.bit_count()}/{group.bits}")
    reply = yield from receive(KexDhGexReply)
    k = codec.mpint(ours.shared(reply.f))
    return context.verify(reply.host_key, reply.signature, _values(request, group, ours.public, reply.f), k)


def server(context: Context) -> Generator[MethodEffect, bytes, Agreement]:
    request = yield from receive(KexDhGexRequest)
    group = choose_group(context.groups or modp_groups(), request, context.random(8))
    yield Send(KexDhGexGroup(group.p, group.g))
    init = yield from receive(KexDhGexInit)
    ours = DiffieHellman(group, context.key_bytes, context.random)
    k = codec.mpint(ours.shared(init.e))
    agreement = context.sign(_values(request, group, init.e, ours.public), k)
    yield Send(KexDhGexReply(context.host_key_blob, ours.public, agreement.signature))
    return agreement


METHODS = {"diffie-hellman-group-exchange-sha256": KexMethod("sha256", client, server)}
