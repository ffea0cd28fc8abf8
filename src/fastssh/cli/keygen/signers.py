"""Who signs for fastssh-keygen: a private key in a file, or an agent that has the one of a public key."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from fastssh.cli.keygen import identity
from fastssh.cli.keygen.arguments import Arguments
from fastssh.cli.keygen.console import Console, Fatal
from fastssh.errors import AgentError, KeyFormatError
from fastssh.files import shown
from fastssh.keys.public import PublicKey
from fastssh.keys.public_file import load_public_key


class Signer(NamedTuple):
    """``sign(data, algorithm)`` gives a signature blob by the private half of ``key``."""

    key: PublicKey
    sign: Callable[[bytes, str], bytes]


def in_file(path: str, asked: Arguments, console: Console) -> Signer:
    """The private key in ``path``, opened as -P and the person allow. Raises Fatal."""
    key = identity.load(identity.KeyFile(os.path.expanduser(path)), asked, console).key
    return Signer(key.public.plain, key.sign)


def in_agent(key: PublicKey) -> Signer | None:
    """The agent at $SSH_AUTH_SOCK, None if it has not that key. Raises AgentError where there is no agent."""
    import asyncio

    from fastssh.aio.agent import AgentClient

    path = os.environ.get("SSH_AUTH_SOCK")
    if not path:
        raise AgentError("agent not present")

    async def held() -> bool:
        agent = await AgentClient.connect(path)
        try:
            return key.blob in [each.blob for each in await agent.identities()]
        finally:
            agent.close()

    async def sign(data: bytes, algorithm: str) -> bytes:
        agent = await AgentClient.connect(path)
        try:
            return await agent.sign(key.blob, data, algorithm)
        finally:
            agent.close()

    if not asyncio.run(held()):
        return None
    return Signer(key, lambda data, algorithm: asyncio.run(sign(data, algorithm)))


def public_key(path: str, failed: str) -> tuple[PublicKey, str]:
    """Key and comment of a file, or its name where there is no comment. Raises Fatal, which begins with ``failed``."""
    try:
        key, comment = load_public_key(path)
        return key, comment or path
    except (OSError, KeyFormatError) as error:
        why = identity.reason(error).removeprefix("invalid format: ").removeprefix(f"{shown(path)}: ")
        raise Fatal(f"{failed}: {why}") from None
