"""Which keys are offered, from the files that a user really has: damaged ones are told of and passed over."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from fastssh.aio import identities
from fastssh.aio.options import LOG_WARNING, ClientOptions
from fastssh.auth.effects import Identity
from fastssh.keys.private import PrivateKey, generate_private_key, serialize_private_key


@pytest.fixture(scope="module")
def key() -> PrivateKey:
    return generate_private_key("ed25519")


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def container(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The file with what its base64 stands for changed."""
    begin, *lines, end = data.split(b"\n")[:-1]
    return b"\n".join((begin, base64.b64encode(change(base64.b64decode(b"".join(lines)))), end, b""))


async def gathered(*paths: Path) -> tuple[list[Identity], list[tuple[int, str]]]:
    lines: list[tuple[int, str]] = []
    options = ClientOptions(
        host="box", user="ann", identity_files=paths, agent_socket="none",
        log=lambda level, text: lines.append((level, text)),
    )
    return await identities.gather(options, None, await identities.load_files(options)), lines


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: container(data, lambda raw: raw[:60]),  # fields that end too soon
        lambda data: container(data, lambda raw: raw + b"more"),
        lambda data: data.replace(b"b3BlbnNzaC1rZXktdjE", b"!!!!!!!!!!!!!!!!!!!"),  # no base64
        lambda data: data[:150],  # no end
        lambda data: data.replace(b"b3BlbnNzaC1rZXktdjE", b"c3BlbnNzaC1rZXktdjE"),  # another magic
    ],
    ids=["truncated", "superfluous", "base64", "end", "magic"],
)
async def test_row24_a_damaged_key_file_is_told_of_and_the_others_are_offered(
    damage: Callable[[bytes], bytes], key: PrivateKey, tmp_path: Path
) -> None:
    whole = serialize_private_key(key)
    bad, good = write(tmp_path / "bad", damage(whole)), write(tmp_path / "good", whole)
    found, lines = await gathered(bad, good)
    assert [(identity.path, identity.public) for identity in found] == [(str(good), key.public)]
    warnings = [text for level, text in lines if level == LOG_WARNING]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"Load key: {bad}: ")


async def test_a_passphrase_need_not_be_utf8(key: PrivateKey, tmp_path: Path) -> None:
    """A terminal that is not in UTF-8 gives bytes; they are what the file was encrypted with."""
    path = write(tmp_path / "latin", serialize_private_key(key, b"ge\xf6ffnet", rounds=4))
    (identity,), _ = await gathered(path)

    async def ask(prompt: str) -> str:
        return b"ge\xf6ffnet".decode("utf-8", "surrogateescape")

    private = await identities.unlock(identity, ask, lambda level, text: None, attempts=1)
    assert private is not None
    assert private.public == key.public
