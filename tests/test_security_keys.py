"""Security keys: signatures as FIDO devices make them, here made with keys of ``cryptography``, and fastsshd with the
device that OpenSSH's test suite has."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from fastssh import algorithms, connect
from fastssh.auth.publickey import SignedRequest
from fastssh.auth.server import Verdict
from fastssh.config.server.evaluate import load
from fastssh.config.values import LogLevel
from fastssh.daemon.log import Log
from fastssh.daemon.login.accounts import User
from fastssh.daemon.login.claim import Claim
from fastssh.daemon.login.user_keys import options_of
from fastssh.errors import AuthenticationError, KeyFormatError, SignatureError
from fastssh.keys.certificate import Certificate, decode_certificate
from fastssh.keys.certificate_options import certificate_options
from fastssh.keys.kinds import KINDS
from fastssh.keys.private import PrivateKey, generate_private_key, load_private_key
from fastssh.keys.public import PublicKey, decode_public_key, parse_public_line
from fastssh.keys.security_keys import MAX_APPLICATION, Presence, presence_of
from fastssh.wire.codec import string
from fastssh.wire.messages import UserauthFailure, UserauthRequest, UserauthSuccess
from tests.support import keygen, openssh
from tests.support.agents import running_agent, ssh_add
from tests.support.auth import SESSION, Server
from tests.support.certificates import build, options
from tests.support.fastsshd import Start, logged
from tests.support.peers import HOST, Peer
from tests.support.security_key import APPLICATION, TOUCHED, VERIFIED, Device

DUMMY = Path("/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so")


class Shown(PrivateKey):
    """A private key of our client's whose signatures a device makes; ``blob``, as a certificate, is what is shown."""

    device: Device

    @classmethod
    def of(cls, device: Device, public: PublicKey | None = None) -> Shown:
        shown = cls(public or device.public, "", KINDS["ssh-ed25519"], None)
        object.__setattr__(shown, "device", device)
        return shown

    def sign(self, data: bytes, algorithm: str) -> bytes:
        return self.device.sign(data)


@pytest.fixture(params=["ssh-ed25519", "ecdsa-sha2-nistp256"])
def device(request: pytest.FixtureRequest) -> Device:
    return Device(request.param)


# --- keys and signatures ----------------------------------------------------------------------------------------------


def test_a_security_key_is_read_and_shown_as_ssh_keygen_does(device: Device, tmp_path: Path) -> None:
    key = device.public
    (tmp_path / "key.pub").write_text(key.line("me") + "\n")
    assert parse_public_line(key.line())[0] == key
    shown = keygen.run("-l", "-f", tmp_path / "key.pub", home=tmp_path).stdout.decode().split()
    assert shown[:2] == [str(key.bits), key.fingerprint()] and shown[-1] == f"({key.family})"
    assert key.is_security_key and key.signature_algorithms == (device.name,)
    for blob in (device.blob[:-1], device.blob + b"\0", device.blob[: -len(string(APPLICATION))]):
        with pytest.raises(KeyFormatError):
            decode_public_key(blob)
    with pytest.raises(KeyFormatError, match="application"):
        _ = Device("ssh-ed25519", application=bytes(MAX_APPLICATION + 1)).public


@pytest.mark.parametrize("flags", [0, TOUCHED, VERIFIED, TOUCHED | VERIFIED, 0xFF])
def test_what_a_device_says_of_the_person_is_signed(device: Device, flags: int) -> None:
    device.flags = flags
    signature = device.sign(b"data")
    assert device.public.verify(signature, b"data", (device.name,)) == device.name
    assert presence_of(signature) == Presence(bool(flags & TOUCHED), bool(flags & VERIFIED))
    for at in range(1, 6):
        changed = signature[:-at] + bytes((signature[-at] ^ 1,)) + signature[len(signature) - at + 1 :]
        with pytest.raises(SignatureError):
            device.public.verify(changed, b"data", (device.name,))


def test_row14_signatures_of_other_forms_or_for_others_are_refused(device: Device) -> None:
    signature, key = device.sign(b"data"), device.public
    inner = device.name.removeprefix("sk-").removesuffix("@openssh.com")
    other = Device(inner, application=b"ssh:other")
    other._key = device._key
    stripped = string(inner.encode()) + signature[4 + len(device.name) : -5]
    for bad in (signature[:-1], signature + b"\0", signature[:-5], other.sign(b"data"), stripped, b""):
        with pytest.raises(SignatureError):
            key.verify(bad, b"data", (device.name, inner))
    with pytest.raises(SignatureError):
        key.verify(signature, b"dater", (device.name,))
    with pytest.raises(SignatureError):
        key.verify(signature, b"data", algorithms.HOST_KEYS)


def test_a_security_key_may_be_certified_and_may_certify(device: Device) -> None:
    ca, key = generate_private_key("ed25519"), generate_private_key("ed25519")
    kind = device.name.removesuffix("@openssh.com").encode()
    shown = Shown.of(device)
    found = decode_certificate(build(ca, shown, type_name=kind + b"-cert-v01@openssh.com"))
    assert found.plain == device.public and found.is_security_key
    assert found.verify(device.sign(b"data"), b"data", found.signature_algorithms) == device.name
    assert decode_certificate(build(shown, key)).authority == device.public


def test_a_server_is_told_what_the_device_said(device: Device) -> None:
    server = Server(lambda attempt: Verdict.ACCEPT, signature_algorithms=algorithms.USER_KEYS).begin()
    device.flags = VERIFIED
    request = SignedRequest("ann", "ssh-connection", device.name, device.blob)
    assert server.hear(request.signed(device.sign(request.to_sign(SESSION)))) == UserauthSuccess()
    assert server.user is not None and server.user.presence == Presence(touched=False, verified=True)


def test_row03_a_devices_signature_of_another_session_is_refused(device: Device) -> None:
    server = Server(lambda attempt: Verdict.ACCEPT, signature_algorithms=algorithms.USER_KEYS).begin()
    request = SignedRequest("ann", "ssh-connection", device.name, device.blob)
    message: UserauthRequest = request.signed(device.sign(request.to_sign(b"another session")))
    assert isinstance(server.hear(message), UserauthFailure)


# --- fastsshd ---------------------------------------------------------------------------------------------------------


async def admits(peer: Peer, shown: Shown) -> bool:
    login = peer.connect_options() | {"keys": [shown], "identity_files": ()}
    try:
        async with connect(peer.host, **login) as connection:
            return (await connection.run("true")).exit_status == 0
    except AuthenticationError:
        return False


TOUCH, VERIFY = "user presence (authenticator touch)", "user verification"


async def test_row04_a_device_must_show_what_its_line_asks_for(start_fastsshd: Start, tmp_path: Path) -> None:
    device, path = Device("ssh-ed25519"), tmp_path / "authorized_keys"
    path.write_text(device.public.line())
    peer = start_fastsshd(AuthorizedKeysFile=path)
    for written, wrong, right, reason in (
        ("", VERIFIED, TOUCHED, TOUCH),
        ("verify-required", TOUCHED, TOUCHED | VERIFIED, VERIFY),
        ("no-touch-required,verify-required", 0, VERIFIED, VERIFY),
        ("no-touch-required", None, 0, ""),
    ):
        path.write_text(f"{written} {device.public.line()}\n")
        device.flags = right
        assert await admits(peer, Shown.of(device))
        if wrong is not None:
            device.flags = wrong
            assert not await admits(peer, Shown.of(device))
            logged(peer, f"rejected: {reason} requirement not met")


async def test_row04_a_device_must_show_what_the_configuration_asks_for(start_fastsshd: Start, tmp_path: Path) -> None:
    device, path = Device("ssh-ed25519"), tmp_path / "authorized_keys"
    path.write_text(f"no-touch-required {device.public.line()}")
    peer = start_fastsshd(AuthorizedKeysFile=path, PubkeyAuthOptions="verify-required touch-required")
    for device.flags in (0, TOUCHED, VERIFIED, TOUCHED | VERIFIED):
        assert await admits(peer, Shown.of(device)) is (device.flags == TOUCHED | VERIFIED)
    logged(peer, f"rejected: {TOUCH} requirement not met")
    logged(peer, f"rejected: {VERIFY} requirement not met")


async def test_row05_a_certificate_asks_a_device_for_touch_and_verification(
    start_fastsshd: Start, tmp_path: Path
) -> None:
    device, ca = Device("ecdsa-sha2-nistp256"), generate_private_key("ed25519")
    path = tmp_path / "authorized_keys"
    path.write_text(f"no-touch-required,cert-authority {ca.public.line()}\n")
    peer = start_fastsshd(AuthorizedKeysFile=path)

    def certified(critical: bytes = b"", extensions: bytes = b"") -> Certificate:
        return decode_certificate(build(
            ca, Shown.of(device), type_name=b"sk-ecdsa-sha2-nistp256-cert-v01@openssh.com", critical=critical,
            principals=string(peer.user.encode()), extensions=extensions,
        ))  # fmt: skip

    free = certified(extensions=options(("no-touch-required", b"")))
    assert not certificate_options(free).require_touch
    for certificate, flags, right in (
        (free, 0, True), (certified(), 0, False), (certified(), TOUCHED, True),
        (certified(critical=options(("verify-required", b""))), TOUCHED, False),
        (certified(critical=options(("verify-required", b""))), TOUCHED | VERIFIED, True),
    ):  # fmt: skip
        device.flags = flags
        assert await admits(peer, Shown.of(device, certificate)) is right


def test_a_certificate_alone_says_that_no_touch_is_needed_where_its_authority_is_trusted_for_all(
    tmp_path: Path,
) -> None:
    device, ca = Device("ecdsa-sha2-nistp256"), generate_private_key("ed25519")
    trusted, principals = tmp_path / "trusted", tmp_path / "principals"
    trusted.write_text(f"{ca.public.line()}\n")
    principals.write_text("ann\n")
    user = User(name="ann", uid=os.getuid(), gid=os.getgid(), home=str(tmp_path))
    log = Log(LogLevel.QUIET, lambda level, line: None)
    for lines, extensions, touch in (
        ((), (("no-touch-required", b""),), False),
        ((), (), True),
        ((f"AuthorizedPrincipalsFile {principals}",), (("no-touch-required", b""),), True),
    ):
        certificate = decode_certificate(build(
            ca, Shown.of(device), type_name=b"sk-ecdsa-sha2-nistp256-cert-v01@openssh.com", principals=string(b"ann"),
            extensions=options(*extensions),
        ))  # fmt: skip
        settings = load(None, overrides=[f"TrustedUserCAKeys {trusted}", "StrictModes no", *lines]).settings
        permitted = options_of(Claim(user, settings, HOST, None, log), certificate)
        assert permitted is not None and permitted.require_touch is touch


if DUMMY.exists():  # what only machines with openssh-tests have is no requirement

    @pytest.mark.parametrize("kind", ["ed25519-sk", "ecdsa-sk"])
    def test_ssh_logs_in_with_a_device(start_fastsshd: Start, tmp_path: Path, kind: str) -> None:
        provider = tmp_path / "sk-dummy.so"
        provider.write_bytes(DUMMY.read_bytes())
        lines = []
        for name, wanted in (("touch", ()), ("no-touch", ("-O", "no-touch-required"))):
            keygen.make_key(tmp_path / name, kind, options=("-w", str(provider), *wanted))
            lines.append((tmp_path / f"{name}.pub").read_text())
        path = tmp_path / "authorized_keys"
        path.write_text(f"{lines[0]}{lines[1]}")
        peer = start_fastsshd(AuthorizedKeysFile=path)
        with_device = ("-o", f"SecurityKeyProvider={provider}")
        assert openssh.ssh(replace(peer, key=tmp_path / "touch"), "echo in", options=with_device).stdout == b"in\n"
        assert openssh.ssh(replace(peer, key=tmp_path / "no-touch"), "true", options=with_device).returncode == 255
        logged(peer, f"rejected: {TOUCH} requirement not met")
        path.write_text(f"no-touch-required {lines[1]}")
        assert openssh.ssh(replace(peer, key=tmp_path / "no-touch"), "echo in", options=with_device).stdout == b"in\n"
        with pytest.raises(KeyFormatError, match="security keys"):
            load_private_key(tmp_path / "touch")

    @pytest.mark.parametrize("kind", ["ed25519-sk", "ecdsa-sk"])
    async def test_our_client_logs_in_with_a_device_through_the_agent(
        start_fastsshd: Start, tmp_path: Path, short_path: Path, kind: str
    ) -> None:
        provider = short_path / "sk-dummy.so"
        provider.write_bytes(DUMMY.read_bytes())
        keygen.make_key(tmp_path / "key", kind, options=("-w", str(provider)))
        peer = start_fastsshd(AuthorizedKeysFile=tmp_path / "key.pub")
        with running_agent(short_path, "-P", f"{short_path.resolve()}/*") as agent:
            ssh_add(agent, "-S", provider.resolve(), tmp_path / "key")
            options = peer.connect_options() | {"agent_socket": agent, "identity_files": [tmp_path / "key.pub"]}
            async with connect(peer.host, **options) as connection:
                assert (await connection.run("echo in")).stdout == b"in\n"
