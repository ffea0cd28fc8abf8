"""The work of one fastssh-copy-id call: which keys, which of them are new to the server, and what became of them."""

from __future__ import annotations

import hashlib
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import fastssh
from fastssh.cli import connecting
from fastssh.cli.copy_id import install, keys
from fastssh.cli.copy_id.arguments import Arguments
from fastssh.cli.copy_id.keys import InstallableKey, Source
from fastssh.cli.messages import Messages, describe
from fastssh.cli.process import print_text
from fastssh.config.evaluate import load
from fastssh.errors import AuthenticationError, DisconnectedError, KeyFormatError, SSHError
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from fastssh.aio.client import ClientConnection
    from fastssh.aio.options import ClientOptions, Prompter


_AT_ONCE: Final = 5  # keys; one less than MaxAuthTries of a stock server


class _AcceptedError(SSHError):
    """The server takes the key: somebody was to be asked for its passphrase, and that is only then."""


class _Asker:
    """The person at the terminal, who is asked about the server's host key, and not for passphrases."""

    def __init__(self, prompter: Prompter | None) -> None:
        self._prompter = prompter

    async def ask(self, prompt: str, *, echo: bool) -> str:
        raise _AcceptedError(prompt)

    async def confirm_host_key(self, question: str, fingerprint: str) -> bool:
        if self._prompter is None:
            return False
        return await self._prompter.confirm_host_key(question, fingerprint)

    def banner(self, text: str) -> None:
        """It is shown once, by the connection that installs."""


def _public_file(each: InstallableKey, folder: Path) -> str:
    """A file of the public half of one of the agent's keys, which stands for it among identity files."""
    path = folder / f"{hashlib.sha256(each.key.blob).hexdigest()}.pub"
    path.write_text(f"{each.key.line()}\n")
    return str(path)


class CopyIdJob:
    """One call. Its messages are ssh-copy-id's."""

    def __init__(self, asked: Arguments, messages: Messages) -> None:
        self._asked, self._messages = asked, messages

    async def run(self) -> int:
        """The exit status."""
        file = self._asked.config_file
        settings = load(self._asked.destination.host, overrides=self._asked.overrides, file=file)
        log = connecting.Log.of(settings, self._messages)
        options = connecting.options(settings, self._messages, log, config_file=file)
        try:
            source = await self._source(options)
        except (OSError, KeyFormatError) as error:
            return self._failed(self._unreadable(error))
        if source is None or not source.keys:
            return self._failed("No identities found")
        self._messages.line(f"INFO: Source of key(s) to be installed: {source.name}")
        new = source.keys
        if not self._asked.force:
            self._messages.line(
                "INFO: attempting to log in with the new key(s), to filter out any that are already installed"
            )
            try:
                new = await self._new(source.keys, options)
            except (SSHError, OSError) as error:
                return self._failed(describe(error))
            if not new:
                self._messages.write("")
                self._messages.line("WARNING: All keys were skipped because they already exist on the remote system.")
                self._messages.write("\t\t(if you think this is a mistake, you may want to use -f option)\n")
                return 0
            self._messages.line(f"INFO: {len(new)} key(s) remain to be installed -- if you are prompted now it is to "
                                "install the new keys")
        if self._asked.dry_run:
            lines = "\n".join(printable(each.line) for each in new)
            rule = "=-=-=-=-=-=-=-="
            return print_text(
                f"{rule}\nWould have added the following key(s):\n\n{lines}\n{rule}\n", self._messages
            )
        try:
            async with await fastssh.connect(options) as connection:
                await self._install(connection, new)
        except (SSHError, OSError) as error:
            return self._failed(describe(error))
        return print_text(self._farewell(len(new), source.keys[0].path), self._messages)

    def _failed(self, text: str) -> int:
        self._messages.line(f"ERROR: {text}")
        return 1

    # -- which keys ------------------------------------------------------------------------------------------------

    async def _source(self, options: ClientOptions) -> Source | None:
        """The keys of -i, of the agent, or of the default file; None where there are none."""
        path = self._asked.identity
        if path is None:
            source = await keys.from_agent(options.agent_path())
            if source.keys:
                return source
        path = path or keys.default_file()
        return keys.from_file(path, private=not self._asked.force) if path else None

    @staticmethod
    def _unreadable(error: OSError | KeyFormatError) -> str:
        if not isinstance(error, OSError):
            return str(error)
        hint = "" if str(error.filename).endswith(".pub") else (
            " (to install the public key anyway, look at the -f option)"
        )
        return f"failed to open ID file '{error.filename}': {error.strerror}{hint}"

    async def _new(self, all: Sequence[InstallableKey], options: ClientOptions) -> tuple[InstallableKey, ...]:
        """Those that the server does not let in. Raises what keeps us from finding out.

        Several are shown over one connection: newer servers turn clients away whose logins fail again and again.
        """
        new: list[InstallableKey] = []
        left, at_once = list(all), _AT_ONCE
        with tempfile.TemporaryDirectory() as folder:
            while left:
                some = left[:at_once]
                try:
                    accepted = await self._accepted(some, options, Path(folder))
                except DisconnectedError:  # fewer attempts than usual may be all that it takes
                    if at_once == 1:
                        raise
                    at_once = 1
                    continue
                new += some if not accepted else ()
                left = [each for each in left if each not in (accepted or some)]
        return tuple(each for each in all if each in new)

    async def _accepted(
        self, some: Sequence[InstallableKey], options: ClientOptions, folder: Path
    ) -> Sequence[InstallableKey]:
        """The one of ``some`` that the server lets in first; all of them where it wants none; nothing if none will do.
        """
        paths = {each.path or _public_file(each, folder): each for each in some}
        alone = replace(
            options, identity_files=tuple(paths), certificate_files=(), identities_only=True, keys=(), password=None,
            preferred_authentications=("publickey",), prompter=_Asker(options.prompter),
        )  # fmt: skip
        try:
            async with await fastssh.connect(alone) as connection:
                key = connection.user_key
                return [each for each in some if key is None or each.key == key.plain]
        except _AcceptedError as error:
            return [each for path, each in paths.items() if f"'{printable(path)}'" in str(error)]
        except AuthenticationError:
            return []

    # -- installing ------------------------------------------------------------------------------------------------

    async def _install(self, connection: ClientConnection, new: Sequence[InstallableKey]) -> None:
        data = "".join(f"{each.line}\n" for each in new).encode("utf-8", "surrogateescape")
        if self._asked.sftp:
            async with await connection.sftp() as sftp:
                await install.by_sftp(sftp, self._asked.target, data)
        else:
            await install.by_command(connection, self._asked.target, data)

    def _farewell(self, count: int, path: str | None) -> str:
        asked = self._asked
        words = ["fastssh-sftp" if asked.sftp else "fastssh"]
        if asked.identity is not None:
            words += ["-i", shlex.quote(path or "")]
        if asked.port is not None:
            words += ["-P" if asked.sftp else "-p", str(asked.port)]
        words += [*map(shlex.quote, asked.given), f"'{asked.host}'"]
        return (
            f"\nNumber of key(s) added: {count}\n\n"
            f'Now try logging into the machine, with: "{printable(" ".join(words))}"\n'
            "and check to make sure that only the key(s) you wanted were added.\n\n"
        )
