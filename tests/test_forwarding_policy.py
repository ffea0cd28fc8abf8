"""What a server forwards and what not: policies, options of keys, gateway ports; beside a stock sshd's answers."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastssh
from fastssh.aio.forwarding import listen
from fastssh.aio.forwarding.client import Address
from fastssh.aio.forwarding.gateway import GatewayPorts
from fastssh.aio.forwarding.listen import bind_path
from fastssh.aio.forwarding.names import MAX_SOCKET_PATH, bind_addresses, host_name, socket_path
from fastssh.aio.forwarding.policy import NO_FORWARDING, ForwardingPolicy
from fastssh.config.server.values import GatewayPorts as ConfiguredGatewayPorts
from fastssh.connection.channel import ChannelHandler
from fastssh.errors import ChannelOpenError, ChannelRequestError, SSHError
from fastssh.keys.endpoint import Endpoint
from fastssh.keys.key_options import RESTRICTED, KeyOptions, parse_options
from fastssh.wire.requests import DirectStreamlocal, DirectTcpip
from tests.conftest import SshdFactory
from tests.support.forwarding import Forwarder, destination, echo, forwarder, options_of
from tests.support.peers import HOST, Keys, free_port

KINDS = ("open", "open path", "listen", "listen path", "agent")
NOTHING = dict.fromkeys(KINDS, False)
EVERYTHING = dict.fromkeys(KINDS, True)


class Answer(ChannelHandler):
    """How the peer answered one CHANNEL_OPEN: None for a channel."""

    def __init__(self) -> None:
        self.done: asyncio.Future[SSHError | None] = asyncio.get_running_loop().create_future()

    def opened(self) -> None:
        self.done.set_result(None)

    def open_failed(self, error: SSHError) -> None:
        self.done.set_result(error)


async def opened(conn: fastssh.ClientConnection, kind: str, data: bytes) -> SSHError | None:
    """Asks for a channel, which is closed again."""
    answer = Answer()
    channel = conn._connection.open_channel(kind, data, answer)
    async with asyncio.timeout(20):
        result = await answer.done
    channel.close()
    return result


async def permitted(
    conn: fastssh.ClientConnection, directory: Path, host: str, port: int, there: Path
) -> dict[str, bool]:
    """What a server lets this client forward; ``host`` and ``port``, and the path ``there``, can be connected to."""
    found = {
        "open": await opened(conn, "direct-tcpip", DirectTcpip(host.encode(), port, b"127.0.0.1", 1).body()) is None,
        "open path": await opened(
            conn, "direct-streamlocal@openssh.com", DirectStreamlocal(os.fsencode(there)).body()
        ) is None,
    }
    places: dict[str, Address] = {"listen": (host, 0), "listen path": str(directory / "listen")}
    for kind, place in places.items():
        try:
            await (await conn.forward_remote(place, (HOST, 1))).close()
        except ChannelRequestError:
            found[kind] = False
        else:
            found[kind] = True
    return found


@asynccontextmanager
async def asked(
    directory: Path, keys: Keys, policy: ForwardingPolicy, options: KeyOptions | None
) -> AsyncIterator[tuple[Forwarder, dict[str, bool]]]:
    """A server, and what it lets its client forward."""
    there = directory / "there"
    async with (
        forwarder(directory, keys, policy, options) as server,
        destination(echo, there),
        destination(echo) as port,
        server.connect() as conn,
    ):
        found = await permitted(conn, directory, HOST, port, there)
        found["agent"] = server.forwarding.agent_requested(server.connection) is not None
        yield server, found


def options(text: str) -> KeyOptions:
    return parse_options(text)[0]


@pytest.mark.parametrize(
    ("policy", "key", "expected"),
    [
        (ForwardingPolicy(), None, EVERYTHING),
        (ForwardingPolicy(), KeyOptions(), EVERYTHING),
        (NO_FORWARDING, KeyOptions(), NOTHING),
        (ForwardingPolicy(), RESTRICTED, NOTHING),
        (ForwardingPolicy(), options("restrict"), NOTHING),
        (ForwardingPolicy(), options("restrict,agent-forwarding"), NOTHING | {"agent": True}),
        (ForwardingPolicy(), options("restrict,port-forwarding"), EVERYTHING | {"agent": False}),
        (ForwardingPolicy(), options("no-port-forwarding"), NOTHING | {"agent": True}),
        (ForwardingPolicy(), options("no-agent-forwarding"), EVERYTHING | {"agent": False}),
        (ForwardingPolicy(), options('permitopen="127.0.0.1:1"'), EVERYTHING | {"open": False, "open path": False}),
        (ForwardingPolicy(), options('permitopen="127.0.0.1:*"'), EVERYTHING | {"open path": False}),
        (ForwardingPolicy(), options('permitopen="*:*"'), EVERYTHING),
        (ForwardingPolicy(), options('permitlisten="127.0.0.1:1"'),
         EVERYTHING | {"listen": False, "listen path": False}),
        (ForwardingPolicy(), options('permitlisten="127.0.0.1:*"'), EVERYTHING | {"listen path": False}),
        (ForwardingPolicy(), options('permitlisten="*:*"'), EVERYTHING),
        (ForwardingPolicy(local_tcp=False), None, EVERYTHING | {"open": False, "open path": False}),
        (ForwardingPolicy(remote_tcp=False), None, EVERYTHING | {"listen": False, "listen path": False}),
        (ForwardingPolicy(local_streams=False), None, EVERYTHING | {"open path": False}),
        (ForwardingPolicy(remote_streams=False), None, EVERYTHING | {"listen path": False}),
        (ForwardingPolicy(agent=False), None, EVERYTHING | {"agent": False}),
    ],
)
async def test_row04_restrictions_bind_every_kind_of_forwarding(
    tmp_path: Path, keys: Keys, policy: ForwardingPolicy, key: KeyOptions | None, expected: dict[str, bool]
) -> None:
    async with asked(tmp_path, keys, policy, key) as (server, found):
        assert found == expected
        refused = [line for line in server.log if "refused" in line and "not permitted" in line]
        assert len(refused) == list(expected.values()).count(False)


def test_row04_server_and_key_must_both_permit() -> None:
    server = ForwardingPolicy(
        permit_open=((Endpoint("a", 1), Endpoint("b", None)),), permit_listen=((Endpoint("*", 8080),),)
    )
    both = server.restricted_by(options('permitopen="a:1",permitopen="c:1",permitlisten="localhost:8080"'))
    asked = [("a", 1), ("a", 2), ("b", 1), ("c", 1)]
    assert [server.may_open(*each) for each in asked] == [True, False, True, False]
    assert [both.may_open(*each) for each in asked] == [True, False, False, False]
    assert [both.may_listen(host, 8080) for host in ("localhost", "", "*", "::")] == [True, False, False, False]
    assert not both.may_listen("localhost", 0)
    assert not both.restricted_by(RESTRICTED).may_open("a", 1)
    nothing = dataclasses.replace(server, permit_open=((),), permit_listen=((),))  # PermitOpen none
    assert not nothing.may_open("b", 1) and not nothing.may_listen("x", 8080)


def test_row04_ports_of_root_are_refused_to_others() -> None:
    assert [ForwardingPolicy().may_listen("", port) for port in (0, 1, 1023, 1024)] == [True, False, False, True]
    assert ForwardingPolicy(privileged_ports=True).may_listen("", 1)


async def test_row04_a_name_is_not_resolved_before_it_is_permitted(
    tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolved(*arguments: Any, **more: Any) -> Any:
        raise AssertionError("nobody may be asked")

    policy = ForwardingPolicy(permit_open=((Endpoint("allowed.invalid", None),),))
    async with forwarder(tmp_path, keys, policy) as server, server.connect() as conn:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolved)
        data = DirectTcpip(b"other.invalid", 1, b"", 0).body()
        error = await opened(conn, "direct-tcpip", data)
        monkeypatch.undo()
        assert isinstance(error, ChannelOpenError) and error.code == 1


# --- as sshd does -------------------------------------------------------------------------------------------------


def listening(port: int) -> set[str]:
    """The addresses that a port is listened on (proc(5))."""
    found = set()
    for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, _, number = local.partition(":")
            if state == "0A" and int(number, 16) == port:
                words = bytes.fromhex(address)
                turned = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
                found.add(socket.inet_ntop(family, turned))
    return found


async def _bound(conn: fastssh.ClientConnection, host: str) -> set[str] | None:
    try:
        async with await conn.forward_remote((host, 0), (HOST, 1)) as forward:
            return listening(forward.port)
    except ChannelRequestError:
        return None


@pytest.mark.parametrize("gateway", list(GatewayPorts))
async def test_gateway_ports_bind_what_sshd_binds(
    tmp_path: Path, keys: Keys, start_sshd: SshdFactory, gateway: GatewayPorts
) -> None:
    stock = start_sshd(GatewayPorts=gateway.value)
    policy = ForwardingPolicy(gateway_ports=gateway)
    async with (
        forwarder(tmp_path, keys, policy) as server, server.connect() as ours,
        fastssh.connect(**options_of(stock)) as theirs,
    ):
        hosts = ("", "*", "localhost", "0.0.0.0", "::", HOST, "::1", "192.0.2.77")
        for _ in range(3):  # a port that is free on one address may be somebody else's on another
            found = {host: await _bound(ours, host) for host in hosts}
            if found == (expected := {host: await _bound(theirs, host) for host in hosts}):
                break
        assert found == expected
        assert (found["192.0.2.77"] is None) is (gateway is GatewayPorts.CLIENT_SPECIFIED)


@pytest.mark.parametrize(
    "config",
    [{}, {"PermitOpen": "127.0.0.1:1"}, {"PermitOpen": "127.0.0.1:*"}, {"PermitOpen": "*:*"}, {"PermitOpen": "none"},
     {"PermitListen": "127.0.0.1:1"}, {"PermitListen": "127.0.0.*:*"}, {"PermitListen": "*:*"},
     {"PermitListen": "none"}, {"AllowTcpForwarding": "local"}, {"AllowTcpForwarding": "remote"},
     {"AllowStreamLocalForwarding": "local"}, {"AllowStreamLocalForwarding": "remote"}, {"DisableForwarding": "yes"}],
    ids=str,
)
async def test_row04_the_server_permits_no_more_than_sshd(
    tmp_path: Path, keys: Keys, start_sshd: SshdFactory, config: dict[str, str]
) -> None:
    there = tmp_path / "there"
    stock = start_sshd(**config)
    policy = _policy_of(config)
    async with forwarder(tmp_path, keys, policy) as server, destination(echo, there), destination(echo) as port:
        async with server.connect() as conn:
            ours = await permitted(conn, tmp_path, HOST, port, there)
        async with fastssh.connect(**options_of(stock)) as conn:
            theirs = await permitted(conn, tmp_path, HOST, port, there)
    (tmp_path / "listen").unlink(missing_ok=True)  # sshd leaves it
    if config.get("PermitListen", "*:*") != "*:*":
        assert theirs.pop("listen path") and not ours.pop("listen path")  # a list of ports permits no path here
    assert ours == theirs


def _policy_of(config: dict[str, str]) -> ForwardingPolicy:
    """As fastsshd makes one of its settings."""

    def lists(text: str | None) -> tuple[tuple[Endpoint, ...], ...]:
        if text is None:
            return ()
        if text == "none":
            return ((),)
        host, _, port = text.rpartition(":")
        return ((Endpoint(host, None if port == "*" else int(port)),),)

    if config.get("DisableForwarding") == "yes":
        return NO_FORWARDING
    tcp, streams = (config.get(f"Allow{kind}Forwarding", "yes") for kind in ("Tcp", "StreamLocal"))
    return ForwardingPolicy(
        local_tcp=tcp in ("yes", "local"), remote_tcp=tcp in ("yes", "remote"),
        local_streams=streams in ("yes", "local"), remote_streams=streams in ("yes", "remote"),
        permit_open=lists(config.get("PermitOpen")), permit_listen=lists(config.get("PermitListen")),
    )


def test_one_kind_of_gateway_ports() -> None:
    assert ConfiguredGatewayPorts is GatewayPorts


# --- sockets that are made ----------------------------------------------------------------------------------------


async def test_stream_local_bind_mask_and_unlink(tmp_path: Path, keys: Keys) -> None:
    path = tmp_path / "listen"
    policy = ForwardingPolicy(bind_mask=0o117, bind_unlink=True)
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
        async with forwarder(tmp_path, keys) as server, server.connect() as conn:
            with pytest.raises(ChannelRequestError):
                await conn.forward_remote(str(path), (HOST, 1))
        async with forwarder(tmp_path, keys, policy) as server, server.connect() as conn:
            before = os.umask(0o22)
            os.umask(before)
            async with await conn.forward_remote(str(path), (HOST, 1)):
                assert path.stat().st_mode & 0o777 == 0o660
                assert os.umask(before) == before
            assert not path.exists()
            path.write_text("mine")
            with pytest.raises(ChannelRequestError):
                await conn.forward_remote(str(path), (HOST, 1))
            assert path.read_text() == "mine"  # nothing but a socket is ever in the way


async def test_a_socket_that_somebody_else_put_there_stays(tmp_path: Path, keys: Keys) -> None:
    path = tmp_path / "listen"
    async with forwarder(tmp_path, keys) as server, server.connect() as conn:
        forward = await conn.forward_remote(str(path), (HOST, 1))
        path.unlink()
        with bind_path(str(path)):
            await forward.close()
            assert path.is_socket()


async def test_a_listener_without_descriptors_rests_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Exhausted(socket.socket):
        failures = 0

        def accept(self) -> tuple[socket.socket, Any]:
            if Exhausted.failures:
                return super().accept()
            Exhausted.failures += 1
            raise OSError(errno.EMFILE, "asyncio's own words")

    monkeypatch.setattr(listen, "REST_SECONDS", 0.2)
    said: list[str] = []
    accepted: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
    sock = Exhausted()
    sock.bind((HOST, 0))
    sock.listen()
    listener = listen.Listener([sock], lambda each, address: accepted.set_result(each), said.append)
    with socket.create_connection((HOST, listener.port)):
        await asyncio.sleep(0.1)
        listener.resume()  # others have room: that gives no descriptor back
        assert not accepted.done()
        (await asyncio.wait_for(accepted, 20)).close()
    assert said == [f"accept: {os.strerror(errno.EMFILE)}"]
    listener.close()
    listener.close()
    assert sock.fileno() < 0


# --- names --------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=40))
def test_row07_hosts_and_paths_are_whole_or_refused(data: bytes) -> None:
    try:
        host = host_name(data)
    except ValueError:
        pass
    else:
        assert host.encode() == data and host.isprintable() and " " not in host
    try:
        path = socket_path(data)
    except ValueError:
        pass
    else:
        assert os.fsencode(path) == data and path.startswith("/") and "\0" not in path


@pytest.mark.parametrize("name", [b"", b"a\0b", b"a b", b"a\n", b"\xff", b"\xe2\x80\xae", b"a" * 1025])
def test_names_that_no_host_has(name: bytes) -> None:
    with pytest.raises(ValueError, match="host name"):
        host_name(name)


@pytest.mark.parametrize("path", [b"", b"relative", b"\0abstract", b"/a\0b", b"/" + b"x" * MAX_SOCKET_PATH])
def test_paths_that_no_socket_has(path: bytes) -> None:
    with pytest.raises(ValueError):
        socket_path(path)


def test_only_the_whole_machine_and_numbers_are_listened_on() -> None:
    with pytest.raises(ValueError):
        bind_addresses("host.example", free_port(), GatewayPorts.CLIENT_SPECIFIED)
