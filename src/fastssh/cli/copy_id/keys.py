"""The keys to install: lines of public keys, and what may log in with each."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from typing import NamedTuple

from fastssh.errors import AgentError, KeyFormatError
from fastssh.files import read_regular, shown
from fastssh.keys.authorized_keys import parse_authorized_keys
from fastssh.keys.files import MAX_KEY_FILE
from fastssh.keys.public import PublicKey


class InstallableKey(NamedTuple):
    """A key as a line of authorized_keys. ``path``: its private key file; None for one of the agent's."""

    line: str
    key: PublicKey
    path: str | None = None


class Source(NamedTuple):
    """``name`` is what is said of it."""

    name: str
    keys: tuple[InstallableKey, ...]


def default_file() -> str | None:
    """The newest of ``~/.ssh/id*.pub`` that is no certificate."""
    names = glob.glob(os.path.join(os.path.expanduser("~"), ".ssh", "id*.pub"))
    names = [name for name in names if not name.endswith("-cert.pub")]
    return max(names, key=os.path.getmtime, default=None)


def from_file(path: str, *, private: bool) -> Source:
    """The keys in a file of public keys, with or without its ``.pub``. ``private``: its private key has to be there.

    Raises OSError and KeyFormatError, both naming the file.
    """
    public = path if path.endswith(".pub") else f"{path}.pub"
    secret = public.removesuffix(".pub")
    if private:
        os.close(os.open(secret, os.O_RDONLY))
    data, _ = read_regular(public, MAX_KEY_FILE)
    return Source(public, tuple(_lines(data.decode("utf-8", "surrogateescape"), public, secret)))


def _lines(text: str, name: str, secret: str) -> Iterator[InstallableKey]:
    """Lines with options are taken as well; one that no server would understand is an error."""
    found = parse_authorized_keys(text, shown(name))
    if found.notes:
        raise KeyFormatError(str(found.notes[0]))
    lines = [line.strip() for line in text.split("\n")]
    for entry in (*found.keys, *found.authorities):
        number = int(entry.where.rpartition(":")[2])
        yield InstallableKey(lines[number - 1], entry.key, secret)


async def from_agent(path: str | None) -> Source:
    """The keys that the agent at ``path`` holds, of the types that we speak; none where there is no agent.

    No certificates: they are accepted for their authority, and a line of authorized_keys has no place for them.
    """
    keys: list[InstallableKey] = []
    if path is not None:
        from fastssh.aio.agent import AgentClient

        try:
            agent = await AgentClient.connect(path)
            try:
                for identity in await agent.identities():
                    if (key := identity.public_key()) is not None and key.plain is key:
                        comment = "".join(each if each.isprintable() else "?" for each in identity.comment)
                        keys.append(InstallableKey(key.line(comment), key))
            finally:
                agent.close()
        except AgentError:
            keys.clear()  # as ssh-copy-id has it: an agent that does not answer is none
    return Source("ssh-add -L", tuple(keys))
