"""keyboard-interactive, the server's side (RFC 4256): a conversation is a generator of questions.

It yields :class:`Questions` and is resumed with an answer for each; what it returns is whether the answers were right.
One that is given up, since the client went on to something else or away, is closed.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

KEYBOARD_INTERACTIVE: Final = "keyboard-interactive"


@dataclass(frozen=True)
class Questions:
    """What a person is asked at once. ``prompts`` are texts, and whether the answer is shown while it is typed; without
    any the person is only told something."""

    prompts: tuple[tuple[str, bool], ...] = ()
    name: str = ""
    instruction: str = ""


Conversation = Generator[Questions, tuple[str, ...], bool]
