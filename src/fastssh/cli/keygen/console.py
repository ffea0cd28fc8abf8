"""What is said and asked, in ssh-keygen's way: answers on standard output, complaints on standard error without the
program's name, names and yes or no from standard input, passphrases from the terminal."""

from __future__ import annotations

import os
import sys
from typing import Final

from fastssh.cli.messages import Messages
from fastssh.cli.process import print_text
from fastssh.errors import SSHError
from fastssh.wire.text import printable

_ANSWER_LIMIT: Final = 8192  # characters of a line of standard input


class Fatal(SSHError):
    """The end: ``text`` is told, if there is any, and ``status`` is the exit status."""

    def __init__(self, text: str, status: int = 255) -> None:
        super().__init__(text)
        self.text, self.status = text, status


class Console:
    """The person, or the script, that fastssh-keygen is run by."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self.name = messages.program

    def say(self, text: str, end: str = "\n") -> None:
        """Text on standard output, with nothing in it that could drive a terminal."""
        self._print(printable(text, newlines=True) + end)

    def data(self, data: bytes) -> None:
        """Bytes of a file on standard output: as they are, unless somebody sees them on a terminal."""
        if sys.stdout is not None and sys.stdout.isatty():
            self._print(printable(data.decode("utf-8", "surrogateescape"), newlines=True))
        else:
            self._print(data)

    def _print(self, text: str | bytes) -> None:
        if status := print_text(text, self._messages):
            raise Fatal("", status)

    def tell(self, text: str) -> None:
        """A complaint, which may have several lines."""
        self._messages.write(printable(text, newlines=True))

    def input(self, limit: int) -> bytes:
        """All of standard input. Raises Fatal past ``limit`` bytes."""
        data = b"" if sys.stdin is None else sys.stdin.buffer.read(limit + 1)
        if len(data) > limit:
            raise Fatal(f"(stdin): larger than {limit} bytes")
        return data

    # -- questions -----------------------------------------------------------------------------------------------------

    def ask(self, prompt: str) -> str:
        """A line of standard input. Its end is the end of the tool, as in ssh-keygen."""
        self.say(prompt, end="")
        line = "" if sys.stdin is None else sys.stdin.readline(_ANSWER_LIMIT)
        if not line:
            raise Fatal("", 1)
        return line.rstrip("\r\n")

    def ask_file(self, prompt: str, default: str) -> str:
        """The name of a file, ``default`` if nothing is typed."""
        return self.ask(f"{prompt} ({default}): ") or default

    def confirm(self, prompt: str) -> bool:
        return self.ask(prompt)[:1] in ("y", "Y")

    def passphrase(self, prompt: str) -> bytes:
        """What is typed at the terminal, which does not show it, or what $SSH_ASKPASS answers.

        Without either it is a line of standard input; :class:`Fatal` if there is none.
        """
        import asyncio

        from fastssh.cli.terminal import NoAnswerError, Terminal

        if not Terminal.available() and sys.stdin is not None and not sys.stdin.isatty():
            line = sys.stdin.readline(_ANSWER_LIMIT)
            if not line:
                raise Fatal(f"no terminal to ask for {prompt.strip()!r}, and nothing on standard input", 1)
            return os.fsencode(line.rstrip("\r\n"))
        try:
            answer = asyncio.run(Terminal(self._messages).ask(prompt, echo=False))
        except NoAnswerError as error:
            raise Fatal(str(error), 1) from None
        return answer.encode("utf-8", "surrogateescape")

    def new_passphrase(self, first: str, *, again: bool) -> bytes:
        """Asked for twice; when the two differ, asked ``again`` or Fatal."""
        while True:
            passphrase = self.passphrase(first)
            if passphrase == self.passphrase("Enter same passphrase again: "):
                return passphrase
            if not again:
                self.say("Pass phrases do not match.  Try again.")
                raise Fatal("", 1)
            self.say("Passphrases do not match.  Try again.")
