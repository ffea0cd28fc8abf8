"""A user's certificates: beside key files, named, in memory and in an agent; against a stock server that trusts an
authority and no key."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fastssh
from fastssh.errors import AuthenticationError, HostKeyUnknownError
from fastssh.keys.certificate import load_certificate
from fastssh.keys.private import load_private_key
from tests.support import keygen, peers
from tests.support.agents import add
from tests.support.certificates import Authority
from tests.support.peers import KEY_TYPES, Keys, Peer, user_name

SECONDS = 20.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority") / "ca")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, keys: Keys, authority: Authority) -> Iterator[Peer]:
    directory = tmp_path_factory.mktemp("trusting")
    peer = peers.start_sshd(
        directory, keys=keys, TrustedUserCAKeys=authority.key.with_suffix(".pub"), AuthorizedKeysFile="none",
        MaxAuthTries=3,
    )
    with peer:
        yield peer


class Folder:
    """Keys of a user's own, with what is beside them."""

    def __init__(self, path: Path, authority: Authority, keys: Keys) -> None:
        self.path, self._authority, self._keys = path, authority, keys

    def key(self, kind: str = "ed25519", name: str = "id", *, public: bool = True) -> Path:
        path = self.path / name
        shutil.copy(self._keys.user(kind), path)
        path.chmod(0o600)
        if public:
            shutil.copy(self._keys.user(kind).with_suffix(".pub"), f"{path}.pub")
        return path

    def certify(self, name: str = "id-cert.pub", kind: str = "ed25519", **options: Any) -> Path:
        made = self._authority.certify(
            self._keys.user(kind).with_suffix(".pub"), **({"principals": user_name()} | options)
        )
        return Path(shutil.copy(made, self.path / name))


@pytest.fixture
def folder(tmp_path: Path, authority: Authority, keys: Keys) -> Folder:
    path = tmp_path / "folder"
    path.mkdir()
    return Folder(path, authority, keys)


async def offered(server: Peer, **options: Any) -> list[str]:
    """Logs in; returns what was offered, in order: name, type and where it is from."""
    lines: list[str] = []
    settings = server.connect_options() | {"identity_files": []} | options
    async with (
        asyncio.timeout(SECONDS),
        fastssh.connect(server.host, **settings, log=lambda level, text: lines.append(text), config="none") as conn,
    ):
        assert (await conn.run("echo in", check=True)).stdout == b"in\n"
        words = [line.removeprefix("Offering public key: ").split() for line in lines if line.startswith("Offering")]
        companion = conn.companion_options()
        if companion is not None:
            async with fastssh.connect(companion):
                pass
        else:
            assert options.get("agent_socket", "none") != "none"
    return [" ".join([Path(name).name, kind, *rest]) for name, kind, _, *rest in words]


@pytest.mark.parametrize("kind", KEY_TYPES)
async def test_a_certificate_beside_its_key_logs_in(kind: str, server: Peer, folder: Folder) -> None:
    path = folder.key(kind)
    folder.certify(kind=kind)
    assert await offered(server, identity_files=[path]) == [
        f"id {kind.upper()} explicit", f"id {kind.upper()}-CERT explicit",
    ]


@pytest.mark.parametrize("algorithm", ["rsa-sha2-256", "rsa-sha2-512"])
async def test_a_certified_rsa_key_signs_with_what_is_accepted(algorithm: str, server: Peer, folder: Folder) -> None:
    path = folder.key("rsa")
    folder.certify(kind="rsa")
    accepted = (f"{algorithm}-cert-v01@openssh.com",)
    assert await offered(server, identity_files=[path], pubkey_accepted_algorithms=accepted) == ["id RSA-CERT explicit"]


async def test_a_certificate_in_the_place_of_the_public_key_is_what_is_offered(server: Peer, folder: Folder) -> None:
    path = folder.key(public=False)
    folder.certify("id.pub")
    lines = await offered(server, identity_files=[path])
    assert len(lines) == 1 and "ED25519-CERT" in lines[0]


async def test_certificates_that_are_named_come_first_and_replace_those_beside(server: Peer, folder: Folder) -> None:
    path = folder.key()
    folder.certify(principals="somebody")  # beside it, and not to be tried
    named = folder.certify("named.pub")
    settings: Any = {"identity_files": [path], "certificate_files": [named]}
    assert await offered(server, **settings) == ["named.pub ED25519-CERT explicit"]
    await offered(server, **(settings | {"identity_files": [folder.key(public=False)]}))


async def test_an_encrypted_key_of_a_certificate_is_unlocked_when_the_server_wants_it(
    server: Peer, folder: Folder, tmp_path: Path, authority: Authority
) -> None:
    path = keygen.make_key(tmp_path / "locked", "ed25519", passphrase="open sesame")
    made = authority.certify(path.with_suffix(".pub"), principals=user_name())

    class Person:
        asked = 0

        async def ask(self, prompt: str, *, echo: bool) -> str:
            assert prompt == f"Enter passphrase for key '{path}': "
            self.asked += 1
            return "open sesame"

    for settings in ({"certificate_files": [made]}, {}):
        if not settings:
            shutil.copy(made, f"{path}-cert.pub")
        person: Any = Person()
        settings |= {"identity_files": [path], "prompter": person, "strict_host_key_checking": "yes"}
        async with fastssh.connect(server.host, **(server.connect_options() | settings)) as conn:
            assert (await conn.run("true")).exit_status == 0
        assert person.asked == 1
    path.with_suffix(".pub").unlink()  # then neither its type is known, nor that it is the certificate's
    await_login = fastssh.connect(server.host, **(server.connect_options() | settings))
    async with await_login as conn:
        assert (await conn.run("true")).exit_status == 0


async def test_a_certificate_without_its_private_key_uses_the_agents(
    server: Peer, folder: Folder, agent: str, keys: Keys
) -> None:
    named = folder.certify("named.pub")
    with pytest.raises(AuthenticationError):
        await offered(server, certificate_files=[named])
    add(agent, keys.user("ed25519"))
    settings: Any = {"certificate_files": [named], "agent_socket": agent, "identities_only": False}
    assert await offered(server, **settings) == ["named.pub ED25519-CERT explicit"]
    public = folder.key("ed25519")
    public.unlink()  # the key file is gone, its public half names the agent's
    for identity in (public, public.with_suffix(".pub")):
        settings |= {"identity_files": [identity], "identities_only": True}
        assert await offered(server, **settings) == ["named.pub ED25519-CERT explicit"]


async def test_a_certificate_of_the_agent_logs_in(server: Peer, folder: Folder, agent: str) -> None:
    path = folder.key()
    folder.certify()
    add(agent, path)  # ssh-add takes the certificate beside it along
    found = await offered(server, agent_socket=agent, identities_only=False)
    assert [line.split()[-2:] for line in found][-1] == ["ED25519-CERT", "agent"]
    assert await offered(server, agent_socket=agent, identity_files=[path]) == [
        "id ED25519 explicit agent", "id ED25519-CERT explicit agent",
    ]


async def test_a_certificate_in_memory_logs_in(server: Peer, folder: Folder) -> None:
    key = load_private_key(folder.key()).certified(load_certificate(folder.certify()))
    assert await offered(server, keys=[key]) == ["user_ed25519 ED25519-CERT"]


async def test_what_is_no_certificate_of_a_user_is_passed_over(server: Peer, folder: Folder) -> None:
    path = folder.key()
    folder.certify(host=True)  # beside the key
    good = folder.certify("good.pub")
    with pytest.raises(AuthenticationError):
        await offered(server, identity_files=[path])
    lines: list[str] = []
    junk, missing = folder.path / "junk", folder.path / "missing"
    junk.write_bytes(b"ssh-ed25519-cert-v01@openssh.com AAAA\xff")
    settings = server.connect_options() | {
        "identity_files": [path], "certificate_files": [folder.path / "id-cert.pub", junk, missing, path, good],
    }
    async with fastssh.connect(server.host, **settings, log=lambda level, text: lines.append(text)):
        pass
    assert any("id-cert.pub: not a user certificate" in line for line in lines)
    assert any(line.startswith(f"Certificate file {missing} not accessible") for line in lines)


async def test_row24_a_certificate_file_has_a_size_cap_and_is_regular(server: Peer, folder: Folder) -> None:
    path = folder.key()
    large = folder.certify("large.pub")
    large.write_bytes(large.read_bytes() + b"x" * (2 << 20))
    for bad in (large, folder.path, Path("/dev/zero")):
        with pytest.raises(AuthenticationError):
            await offered(server, identity_files=[path], certificate_files=[bad])


async def test_a_key_that_is_not_the_certificates_does_not_sign(server: Peer, folder: Folder, keys: Keys) -> None:
    path = folder.key("ecdsa", public=False)
    folder.certify(kind="ed25519")
    lines: list[tuple[int, str]] = []
    settings = server.connect_options() | {"identity_files": [path]}
    with pytest.raises(AuthenticationError):
        await fastssh.connect(server.host, **settings, log=lambda level, text: lines.append((level, text)))
    assert (0, f"{path}: private key does not match its public key file") in lines


async def test_authorities_of_host_certificates_sign_with_what_is_accepted(
    start_sshd: Any, tmp_path: Path, keys: Keys, authority: Authority
) -> None:
    made = authority.certify(keys.host("ed25519").with_suffix(".pub"), principals="box", host=True)
    peer = start_sshd(HostCertificate=made)
    known = tmp_path / "known"
    known.write_text(f"@cert-authority * {authority.line}")
    settings = peer.connect_options() | {"user_known_hosts": [known], "host_key_alias": "box"}
    for algorithms in ((), ("ssh-ed25519",)):
        async with fastssh.connect(peer.host, **settings, ca_signature_algorithms=algorithms):
            pass
    with pytest.raises(HostKeyUnknownError):
        await fastssh.connect(peer.host, **settings, ca_signature_algorithms=("rsa-sha2-512",))
