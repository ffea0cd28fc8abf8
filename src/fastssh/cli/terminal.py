"""Questions to the person at the terminal: passwords without echo, and whether an unknown host key is trusted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import termios
from collections.abc import Iterator

from fastssh.cli.messages import Messages
from fastssh.errors import SSHError

ANSWER_LIMIT = 8192  # bytes; far above what a terminal's line holds
_AGAIN = "Please type 'yes', 'no' or the fingerprint: "


class NoAnswerError(SSHError):
    """There was nobody to ask, or no answer came."""


class Terminal:
    """The prompter of command-line tools: asks on /dev/tty, or through the program named by $SSH_ASKPASS.

    $SSH_ASKPASS_REQUIRE is read as by ssh(1): ``never``, ``prefer`` or ``force``.
    """

    def __init__(self, messages: Messages) -> None:
        self._messages = messages

    @staticmethod
    def available() -> bool:
        """True when there is somebody to ask."""
        if _askpass(terminal=False) is not None:
            return True
        try:
            os.close(_open_terminal())
        except OSError:
            return False
        return True

    async def ask(self, prompt: str, *, echo: bool) -> str:
        """The answer to ``prompt``. NoAnswerError without one."""
        try:
            tty = _open_terminal()
        except OSError:
            tty = -1
        program = _askpass(terminal=tty >= 0)
        try:
            if program is not None:
                return await _run_askpass(program, prompt)
            if tty < 0:
                raise NoAnswerError(f"no terminal to ask for {prompt.strip()!r}")
            return await self._ask_terminal(tty, prompt, echo=echo)
        finally:
            if tty >= 0:
                os.close(tty)

    async def confirm_host_key(self, question: str, fingerprint: str) -> bool:
        """Asks until the answer is yes, no or the fingerprint."""
        answer = await self.ask(question, echo=True)
        while True:
            answer = answer.strip()
            if answer == fingerprint or answer.lower() == "yes":
                return True
            if answer.lower() in ("", "no"):
                return False
            answer = await self.ask(_AGAIN, echo=True)

    def banner(self, text: str) -> None:
        self._messages.show(text.removesuffix("\n"))

    async def _ask_terminal(self, tty: int, prompt: str, *, echo: bool) -> str:
        if self._messages.before is not None:
            self._messages.before()
        with _asking(tty, prompt, echo=echo):
            os.write(tty, prompt.encode())
            line = await _read_line(tty)
        if not line.endswith(b"\n"):
            raise NoAnswerError("no answer" if len(line) < ANSWER_LIMIT else "the answer is too long")
        return line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")


# -- the terminal ------------------------------------------------------------------------------------------------------


def _open_terminal() -> int:
    return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


changed: list[tuple[int, list[int | list[bytes | int]]]] = []  # what is to be restored, for restore()


def restore() -> None:
    """Turns the terminal's echo on again at once; for exits that run no ``finally``."""
    for tty, attributes in reversed(changed):
        with contextlib.suppress(termios.error, OSError):
            termios.tcsetattr(tty, termios.TCSANOW, attributes)


@contextlib.contextmanager
def _asking(tty: int, prompt: str, *, echo: bool) -> Iterator[None]:
    """A line at a time inside the block, and no echo unless ``echo``, although a session may have made the terminal
    raw; restored on every way out, and while the process is stopped with Ctrl-Z."""
    attributes = termios.tcgetattr(tty)
    if echo and attributes[3] & termios.ICANON:
        yield
        return
    silent = list(attributes)
    silent[0] |= termios.ICRNL
    silent[1] |= termios.OPOST
    silent[3] = (silent[3] | termios.ICANON | termios.ISIG | termios.IEXTEN) & ~(termios.ECHO | termios.ECHONL)
    if echo:
        silent[3] |= termios.ECHO | termios.ECHOE | termios.ECHOK
    loop = asyncio.get_running_loop()

    def suspended() -> None:
        termios.tcsetattr(tty, termios.TCSAFLUSH, attributes)
        os.kill(os.getpid(), signal.SIGSTOP)  # comes back here with SIGCONT
        termios.tcsetattr(tty, termios.TCSAFLUSH, silent)
        os.write(tty, prompt.encode())

    termios.tcsetattr(tty, termios.TCSAFLUSH, silent)
    changed.append((tty, attributes))
    try:
        loop.add_signal_handler(signal.SIGTSTP, suspended)
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTSTP)
        changed.pop()
        termios.tcsetattr(tty, termios.TCSADRAIN, attributes)
        if not echo:
            os.write(tty, b"\n")  # the one that was typed was not shown


async def _read_line(tty: int) -> bytes:
    """A line, or what there was at the end of input. A thread waits, since not every loop can watch a terminal."""
    wake_read, wake_write = os.pipe()
    reading = asyncio.get_running_loop().run_in_executor(None, _read_blocking, tty, wake_read)
    try:
        return await asyncio.shield(reading)
    finally:
        os.write(wake_write, b"x")
        await asyncio.wait([reading])
        os.close(wake_read)
        os.close(wake_write)


def _read_blocking(tty: int, wake: int) -> bytes:
    line = b""
    while not line.endswith(b"\n") and len(line) < ANSWER_LIMIT:
        ready, _, _ = select.select([tty, wake], [], [])
        if wake in ready:
            break
        chunk = os.read(tty, ANSWER_LIMIT - len(line))
        if not chunk:
            break
        line += chunk
    return line


# -- SSH_ASKPASS -------------------------------------------------------------------------------------------------------


def _askpass(*, terminal: bool) -> str | None:
    """The program to ask with, or None to use the terminal."""
    program = os.environ.get("SSH_ASKPASS")
    require = os.environ.get("SSH_ASKPASS_REQUIRE", "").lower()
    if not program or require == "never":
        return None
    if require == "force":
        return program
    display = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    if require == "prefer":
        return program if display or not terminal else None
    return program if display and not terminal else None


async def ask_permission(prompt: str) -> bool:
    """What $SSH_ASKPASS answers to a question of yes or no: an empty answer is a yes. Nobody else is asked: the
    terminal, if there is one, is a session's."""
    program = _askpass(terminal=False)
    if program is None:
        return False
    try:
        answer = await _run_askpass(program, prompt, SSH_ASKPASS_PROMPT="confirm")
    except NoAnswerError:
        return False
    return answer.lower() in ("", "yes")


async def _run_askpass(program: str, prompt: str, **environment: str) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            program, prompt, stdout=asyncio.subprocess.PIPE, env=os.environ | environment
        )
    except OSError as error:
        raise NoAnswerError(f"{program}: {error.strerror}") from None
    assert process.stdout is not None
    try:
        answer = b""
        while more := await process.stdout.read(ANSWER_LIMIT):  # to its end, or it could not end
            answer = (answer + more)[:ANSWER_LIMIT]
        status = await process.wait()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        raise
    if status != 0:
        raise NoAnswerError(f"{program} ended with status {status}")
    return answer.split(b"\n", 1)[0].rstrip(b"\r").decode("utf-8", "surrogateescape")
