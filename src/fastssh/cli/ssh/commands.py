"""What an escape character and a letter do: a table of letters, and the command line of ``~C``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fastssh.cli.ssh.forwards import ForwardError, Forwards, allocated
from fastssh.config.forwards import Kind, parse
from fastssh.errors import ConfigError
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from fastssh.aio.client import ClientConnection
    from fastssh.aio.session import Session
    from fastssh.cli.connecting import Log
    from fastssh.config.settings import Settings

_LEVELS: Final = {-1: "ERROR", 0: "INFO", 1: "DEBUG1", 2: "DEBUG2", 3: "DEBUG3"}
_KINDS: Final = {"L": Kind.LOCAL, "R": Kind.REMOTE, "D": Kind.DYNAMIC}
_COMMAND_HELP: Final = (
    "Commands:",
    "  -L[bind_address:]port:host:hostport  open a local forward",
    "  -R[bind_address:]port:host:hostport  open a remote forward",
    "  -D[bind_address:]port                open a dynamic forward",
    "  -KL[bind_address:]port               cancel a local forward",
    "  -KR[bind_address:]port               cancel a remote forward",
    "  -KD[bind_address:]port               cancel a dynamic forward",
)


@dataclass(frozen=True, kw_only=True)
class Situation:
    """Where escapes are typed. ``end`` ends the session, ``say`` shows a line. ``suspend``, ``background`` and ``ask``,
    which shows a prompt and returns the line typed, are None where the terminal is not this process's; ``shell`` runs a
    local command."""

    session: Session
    connection: ClientConnection
    forwards: Forwards
    settings: Settings
    log: Log
    escape: str  # as it is shown
    say: Callable[[str], None]
    end: Callable[[], None]
    suspend: Callable[[], None] | None = None
    background: Callable[[], Awaitable[None]] | None = None
    ask: Callable[[str], Awaitable[str]] | None = None
    shell: Callable[[str], Awaitable[None]] | None = None


class EscapeCommands:
    """Called with a letter. ``letters`` are those that mean something here."""

    def __init__(self, situation: Situation) -> None:
        self._situation = situation
        missing = {"\x1a": situation.suspend, "&": situation.background, "C": situation.ask}
        self.letters: Final = frozenset(letter for letter in _TABLE if missing.get(letter, True) is not None)

    async def __call__(self, letter: str) -> None:
        _, act = _TABLE[letter]
        await act(self, shown(letter))

    def _echo(self, letter: str, what: str = "") -> None:
        self._situation.say(f"{self._situation.escape}{letter}{what}")

    async def _terminate(self, letter: str) -> None:
        self._echo(letter)
        self._situation.end()

    async def _suspend(self, letter: str) -> None:
        self._echo(letter, " [suspend ssh]")
        if self._situation.suspend is not None:
            self._situation.suspend()

    async def _background(self, letter: str) -> None:
        self._echo(letter, " [backgrounded]")
        if self._situation.background is not None:
            await self._situation.background()

    async def _help(self, letter: str) -> None:
        escape = self._situation.escape
        self._echo(letter)
        self._situation.say("Supported escape sequences:")
        for each, (text, _) in _TABLE.items():
            if each in self.letters:
                self._situation.say(f" {escape}{shown(each):<3}- {text}")
        self._situation.say(f" {escape}{escape:<3}- send the escape character by typing it twice")
        self._situation.say("(Escapes are only recognized immediately after a newline.)")

    async def _list(self, letter: str) -> None:
        self._echo(letter)
        self._situation.say("The following connections are open:")
        for channel in self._situation.connection.open_channels():
            self._situation.say(f"  #{channel.id} {channel.kind} ({channel.state.value}, peer's #{channel.remote_id})")
        for forward in self._situation.forwards:
            self._situation.say(f"  {forward.kind.value} forward {printable(str(forward))}")

    async def _break(self, letter: str) -> None:
        self._echo(letter)
        self._situation.session.send_break()

    async def _rekey(self, letter: str) -> None:
        self._situation.connection.rekey()

    async def _quieter(self, letter: str) -> None:
        self._level(letter, -1)

    async def _louder(self, letter: str) -> None:
        self._level(letter, 1)

    def _level(self, letter: str, change: int) -> None:
        log = self._situation.log
        log.level = min(max(log.level + change, -1), 3)
        self._echo(letter, f" [LogLevel {_LEVELS[log.level]}]")

    async def _command_line(self, letter: str) -> None:
        situation = self._situation
        if not situation.settings.flag("EnableEscapeCommandline"):
            situation.say("commandline disabled")
            return
        assert situation.ask is not None
        line = await situation.ask("\nssh> ")
        if line and (line := line.strip()):
            await self._run_line(line)

    async def _run_line(self, line: str) -> None:
        situation = self._situation
        if line[:1] in tuple("?hH") or line in ("-h", "-H", "-?"):
            for text in _COMMAND_HELP:
                situation.say(text)
            if situation.settings.flag("PermitLocalCommand"):
                situation.say("  !args                                run a local command")
        elif line.startswith("!") and situation.settings.flag("PermitLocalCommand") and situation.shell is not None:
            await situation.shell(line[1:])
        else:
            try:
                situation.say(await self._forward(line))
            except ForwardError as error:
                for text in (*error.details, str(error)):
                    situation.say(text)
            except ConfigError as error:
                situation.say(printable(str(error)))

    async def _forward(self, line: str) -> str:
        """Opens or cancels what ``line`` says; what to say of it."""
        cancel = line[:2] in ("-K", "-k")
        letter, specification = line[1 + cancel : 2 + cancel].upper(), line[2 + cancel :].strip()
        kind = _KINDS.get(letter)
        if line[:1] != "-" or kind is None:
            return "Invalid command."
        forwards = self._situation.forwards
        if cancel:
            await forwards.cancel_listening(kind, parse(Kind.DYNAMIC, specification).listen)
            return "Canceled forwarding."
        forward = parse(kind, specification)
        port = await forwards.open(forward)
        return allocated(forward, port) if port else "Forwarding port."


def shown(letter: str) -> str:
    """A character as it is typed: ``^Z`` for a control character."""
    return letter if letter >= " " else f"^{chr(ord(letter) + 64)}"


_TABLE: Final[dict[str, tuple[str, Callable[[EscapeCommands, str], Awaitable[None]]]]] = {
    ".": ("terminate connection (and any multiplexed sessions)", EscapeCommands._terminate),
    "B": ("send a BREAK to the remote system", EscapeCommands._break),
    "C": ("open a command line", EscapeCommands._command_line),
    "R": ("request rekey", EscapeCommands._rekey),
    "V": ("decrease verbosity (LogLevel)", EscapeCommands._quieter),
    "v": ("increase verbosity (LogLevel)", EscapeCommands._louder),
    "\x1a": ("suspend ssh", EscapeCommands._suspend),
    "#": ("list forwarded connections", EscapeCommands._list),
    "&": ("background ssh (when waiting for connections to terminate)", EscapeCommands._background),
    "?": ("this message", EscapeCommands._help),
}
