"""Key exchange with other people's implementations, both roles, on loopback: hashes and derived keys agree."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import asyncssh
import paramiko
import pytest

from fastssh import algorithms
from fastssh.transport.phases import Phase, Role
from fastssh.wire.messages import KexInit, ServiceAccept, ServiceRequest, UserauthFailure, UserauthRequest
from tests.support import peers
from tests.support.memory import Endpoint, host_key
from tests.support.peers import Peer

pytestmark = pytest.mark.filterwarnings("ignore:Diffie-Hellman over finite fields")  # what asyncssh uses
SECONDS = 30  # for one handshake

# What each is known to have; more is tried if it offers more.
EXPECTED = {
    "sshd": {"curve25519-sha256", "ecdh-sha2-nistp521", "diffie-hellman-group-exchange-sha256"},
    "asyncssh_server": {"mlkem768x25519-sha256", "curve25519-sha256", "ecdh-sha2-nistp384"},
    "paramiko_server": {"curve25519-sha256@libssh.org", "ecdh-sha2-nistp256"},
    "dropbear": {"curve25519-sha256"},
}


class Wire:
    """An endpoint on a blocking socket."""

    def __init__(self, sock: socket.socket, endpoint: Endpoint) -> None:
        self.sock, self.endpoint = sock, endpoint
        sock.settimeout(SECONDS)

    def run(self, until: Callable[[], bool]) -> None:
        """Moves bytes until the condition holds. Raises EOFError if the peer closes first."""
        deadline = time.monotonic() + SECONDS
        self.sock.sendall(self.endpoint.take())
        while not until():
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self.endpoint.give(data)
            self.sock.sendall(self.endpoint.take())
            assert time.monotonic() < deadline


# A paramiko server without a moduli file offers it all the same, and then has no common method.
BROKEN = {("paramiko_server", "diffie-hellman-group-exchange-sha256")}
REKEY_BEFORE_LOGIN = {"asyncssh_server", "dropbear"}  # the others only do it once the user is known


def greet(peer: Peer, *, rekey: bool = False, **options: Any) -> tuple[Endpoint, KexInit]:
    """A client that exchanges keys (twice with ``rekey``) and is refused "none"; and the server's first KEXINIT."""
    endpoint = Endpoint(Role.CLIENT, **options)
    offers: list[KexInit] = []
    deliver = endpoint.transport._on_kexinit

    def note(sequence: int, payload: bytes) -> None:
        offers.append(KexInit.decode(payload))
        deliver(sequence, payload)

    endpoint.transport._on_kexinit = note  # type: ignore[method-assign]
    observer = endpoint.observer
    with socket.create_connection((peer.host, peer.port), SECONDS) as sock:
        wire = Wire(sock, endpoint)
        wire.run(lambda: observer.ready == 1)
        endpoint.transport.send(ServiceRequest("ssh-userauth"))
        wire.run(lambda: observer.messages == [ServiceAccept("ssh-userauth").encode()])
        endpoint.transport.set_phase(Phase.AUTH)
        if rekey:
            endpoint.transport.rekey()
            wire.run(lambda: not endpoint.transport.exchanging)
        endpoint.transport.send(UserauthRequest(peer.user, "ssh-connection", "none"))
        wire.run(lambda: any(payload[0] == UserauthFailure.number for payload in observer.messages))
        endpoint.transport.disconnect(11, "disconnected by user")
        sock.sendall(endpoint.take())
    return endpoint, offers[0]


@pytest.mark.parametrize("name", EXPECTED)
def test_every_method_a_server_has(name: str, request: pytest.FixtureRequest) -> None:
    peer = request.getfixturevalue(name)
    _, offer = greet(peer)
    common = [kex for kex in algorithms.KEX if kex in offer.kex_algorithms and (name, kex) not in BROKEN]
    assert set(common) >= EXPECTED[name]
    for kex in common:
        endpoint, _ = greet(peer, rekey=name in REKEY_BEFORE_LOGIN, kex=(kex,))
        assert endpoint.transport.negotiated.kex == kex
        assert endpoint.observer.lines.count("SSH2_MSG_NEWKEYS sent") == 1 + (name in REKEY_BEFORE_LOGIN)
        assert len(endpoint.observer.keys) == 1


@pytest.mark.parametrize("name", EXPECTED)
def test_every_host_key_algorithm_a_server_has(name: str, request: pytest.FixtureRequest) -> None:
    peer = request.getfixturevalue(name)
    _, offer = greet(peer)
    common = [kind for kind in algorithms.HOST_KEYS if kind in offer.server_host_key_algorithms]
    assert common
    for kind in common:
        endpoint, _ = greet(peer, host_key_algorithms=(kind,))
        assert endpoint.transport.negotiated.host_key == kind


# --- the server role -------------------------------------------------------------------------------------------------


@contextmanager
def serving(**options: Any) -> Iterator[tuple[int, Endpoint]]:
    """A server of ours that answers every authentication request with failure: its port and its endpoint."""
    endpoint = Endpoint(
        Role.SERVER, host_keys=(host_key(), host_key("ecdsa", 256), host_key("rsa", 2048)), **options
    )

    def answer(payload: bytes) -> None:
        if payload[0] == ServiceRequest.number:
            endpoint.transport.set_phase(Phase.AUTH)
            endpoint.transport.send(ServiceAccept("ssh-userauth"))
        elif payload[0] == UserauthRequest.number:
            endpoint.transport.send(UserauthFailure(("hostbased",)))

    endpoint.observer.on_message = answer
    failures: list[BaseException] = []

    def serve() -> None:
        try:
            sock, _ = listener.accept()
            with sock:
                Wire(sock, endpoint).run(lambda: False)
        except (EOFError, OSError, asyncssh.Error):
            pass  # the peer is done
        except Exception as error:
            failures.append(error)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], endpoint
        finally:
            thread.join(SECONDS)
    assert not thread.is_alive()
    assert not [error for error in failures if "peer disconnected" not in str(error)], failures
    assert any(payload[0] == UserauthRequest.number for payload in endpoint.observer.messages)


@pytest.mark.parametrize("kex", algorithms.KEX)
async def test_asyncssh_as_client(kex: str) -> None:
    with serving() as (port, endpoint):
        with pytest.raises(asyncssh.PermissionDenied):
            await asyncssh.connect(
                "127.0.0.1", port, kex_algs=[kex], known_hosts=None, username="nobody", client_keys=None, config=None
            )
        assert endpoint.transport.negotiated.kex == kex


@pytest.mark.parametrize("kex", ["mlkem768x25519-sha256", "ecdh-sha2-nistp384", "diffie-hellman-group-exchange-sha256"])
def test_paramiko_as_client(kex: str) -> None:
    with serving() as (port, endpoint):
        with socket.create_connection(("127.0.0.1", port), SECONDS) as sock:
            transport = paramiko.Transport(sock)
            try:
                transport.get_security_options().kex = [kex]
                transport.start_client(timeout=SECONDS)
                with pytest.raises(paramiko.BadAuthenticationType):
                    transport.auth_none("nobody")
            finally:
                transport.close()
        assert endpoint.transport.negotiated.kex == kex


@pytest.mark.parametrize("kex", algorithms.KEX)
def test_openssh_as_client(kex: str, home: Any) -> None:
    if kex not in peers.openssh_offers("kex"):
        kex = "curve25519-sha256"  # an OpenSSH before 9.9 has no ML-KEM; the asyncssh test has
    with serving() as (port, endpoint):
        result = subprocess.run(
            [
                peers.program("ssh", "openssh-client"), "-F", "none", "-o", "UserKnownHostsFile=/dev/null",
                "-o", "GlobalKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes",
                "-o", f"KexAlgorithms={kex}", "-o", "IdentityFile=none", "-p", str(port), "nobody@127.0.0.1", "true",
            ],
            capture_output=True, timeout=SECONDS, check=False, env=peers.clean_environment(home),
        )
        assert b"Permission denied (hostbased)" in result.stderr
        assert endpoint.transport.negotiated.kex == kex
        assert endpoint.transport.negotiated.strict
