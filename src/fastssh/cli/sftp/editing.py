"""The prompt: a line that can be edited, with history and completion where Python has readline. No history is kept."""

from __future__ import annotations

import sys
from typing import Any, Final

from fastssh.cli.progress import text_columns
from fastssh.cli.sftp.completion import NONE, Choices, Names, choices
from fastssh.cli.sftp.listing import columns, terminal_columns
from fastssh.wire.text import printable

PROMPT: Final = "sftp> "
HISTORY: Final = 100  # lines, as sftp
MAX_SHOWN: Final = 300  # names in a list of completions


class Editor:
    """Lines typed at a terminal. ``names`` gives what can be completed."""

    interactive = True

    def __init__(self, names: Names) -> None:
        self._names = names
        self._choices = NONE
        for stream in (sys.stdin, sys.stdout):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="surrogateescape" if stream is sys.stdin else "backslashreplace")
        try:
            import readline
        except ImportError:
            self._readline: Any = None
        else:
            self._readline = readline
            self._set_up()

    def _set_up(self) -> None:
        self._readline.set_completer(self._complete)
        self._readline.set_completer_delims("")  # words are ours to find: the whole line is completed
        self._readline.set_completion_display_matches_hook(self._show)
        self._readline.set_history_length(HISTORY)
        if "libedit" in (self._readline.__doc__ or ""):
            self._readline.parse_and_bind("bind ^I rl_complete")
        else:
            self._readline.parse_and_bind("tab: complete")
            self._readline.parse_and_bind("set show-all-if-ambiguous on")
            self._readline.parse_and_bind("set completion-ignore-case off")

    def next(self) -> str | None:
        """The next line; None at the end. Raises KeyboardInterrupt when it was given up with Ctrl-C."""
        try:
            return input(PROMPT)
        except EOFError:
            sys.stdout.write("\n")
            return None

    def _complete(self, text: str, state: int) -> str | None:
        """As readline asks: the ``state``-th of what ``text`` may become."""
        if state == 0:
            self._choices = choices(text, self._names)
        return self._choices.lines[state] if state < len(self._choices.lines) else None

    def _show(self, substitution: str, matches: list[str], longest: int) -> None:
        """Called by readline, which then leaves the line to us."""
        line = self._readline.get_line_buffer()
        behind = text_columns(printable(line[self._readline.get_endidx() :]))
        sys.stdout.write(f"\n{listed(self._choices)}{PROMPT}{line}" + "\b" * behind)
        sys.stdout.flush()


def listed(found: Choices) -> str:
    """The names, in columns."""
    shown = found.shown[:MAX_SHOWN]
    widest = max((text_columns(printable(name)) for name in shown), default=0)
    more = len(found.shown) - len(shown)
    return columns(shown, widest, terminal_columns()) + (f"... and {more} more\n" if more else "")
