"""``-O``: a word to the master of a shared connection, in ssh's words and with its exit statuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fastssh.cli.messages import describe
from fastssh.cli.mux.lookup import named_master
from fastssh.cli.ssh.words import FAILED
from fastssh.errors import MultiplexError

if TYPE_CHECKING:
    from fastssh.cli.mux.client import MasterConnection
    from fastssh.config.forwards import Forward
    from fastssh.config.settings import Settings



def run(
    command: str,
    settings: Settings,
    forwards: Sequence[Forward],
    *,
    say: Callable[[str], None],
    show: Callable[[str], None],
    quiet: bool,
) -> int:
    """The exit status. ``say`` gets lines for standard error, ``show`` text for standard output."""
    try:
        with named_master(settings) as master:
            return _run(command, master, forwards, say, show, quiet)
    except (MultiplexError, OSError) as error:
        say(describe(error))
        return FAILED


def _run(
    command: str,
    master: MasterConnection,
    forwards: Sequence[Forward],
    say: Callable[[str], None],
    show: Callable[[str], None],
    quiet: bool,
) -> int:
    match command:
        case "check":
            say(f"Master running (pid={master.check()})\r")
        case "exit":
            master.terminate()
            if not quiet:
                say("Exit request sent.\r")
        case "stop":
            master.stop_listening()
            if not quiet:
                say("Stop listening request sent.\r")
        case "forward":
            if not open_forwards(master, forwards, say, lambda port: show(f"{port}\n")):
                say("master forward request failed")
                return FAILED
        case "cancel":
            if not cancel_forwards(master, forwards, say):
                say("master cancel forward request failed")
    return 0


def open_forwards(
    master: MasterConnection,
    forwards: Sequence[Forward],
    say: Callable[[str], None],
    chosen: Callable[[int], None] | None = None,
) -> bool:
    """Has the master open them; whether it opened all. ``chosen`` gets ports that the server chose."""
    if not forwards:
        return True
    from fastssh.cli.mux.specs import to_wire

    complete = True
    for forward in _in_sshs_order(forwards):
        try:
            port = master.open_forward(*to_wire(forward))
        except MultiplexError as error:
            say(str(error))
            complete = False
        else:
            if port and chosen is not None:
                chosen(port)
    return complete


def cancel_forwards(master: MasterConnection, forwards: Sequence[Forward], say: Callable[[str], None]) -> bool:
    """Has the master cancel them; whether there were all."""
    from fastssh.cli.mux.specs import to_wire

    complete = True
    for forward in _in_sshs_order(forwards):
        try:
            master.close_forward(*to_wire(forward))
        except MultiplexError as error:
            say(str(error))
            complete = False
    return complete


def _in_sshs_order(forwards: Sequence[Forward]) -> list[Forward]:
    """Those that listen here come first."""
    from fastssh.config.forwards import Kind

    return sorted(forwards, key=lambda forward: forward.kind is Kind.REMOTE)
