"""What an authentication flow asks of its surroundings: a flow is a generator, yields effects and gets their results.

``Send`` and ``Receive`` are the wire; ``Ask`` is whatever takes time (a person, an agent, a file); ``Tell`` is text for
the person. The flow itself touches nothing, so that it reads as the RFCs do and runs in memory.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from fastssh.wire.messages import Message

if TYPE_CHECKING:
    from fastssh.keys.private import PrivateKey
    from fastssh.keys.public import PublicKey


@dataclass
class Identity:
    """A key to offer. ``name``: a file's path or an agent's comment, as ssh shows it; safe for a terminal.

    ``public`` may be a certificate, and is None for a file whose public half cannot be read without its passphrase;
    ``private`` is None until the file is loaded, and always for keys of an agent. What is a ``certificate`` by origin
    has no private key of its own.
    """

    name: str
    origin: Literal["memory", "file", "agent", "certificate"]
    public: PublicKey | None
    private: PrivateKey | None = None
    path: str = ""  # of a file
    explicit: bool = False  # somebody named the file

    def __str__(self) -> str:
        return self.shown("sha256")

    def shown(self, hash: str) -> str:
        """As ssh shows it: name, type, fingerprint with this hash, and where it is from."""
        public = self.public
        words = [self.name, *([public.family, public.fingerprint(hash)] if public is not None else [""])]
        return " ".join(words + ["explicit"] * self.explicit + ["agent"] * (self.origin == "agent"))


# --- questions ------------------------------------------------------------------------------------------------------


class AskText(NamedTuple):
    """A person's answer to ``prompt``. Result: str, or None when there is nobody to ask."""

    prompt: str
    echo: bool


class AskPrivateKey(NamedTuple):
    """Load the file of ``identity``, with its passphrase. Result: PrivateKey, or None when that fails."""

    identity: Identity


class AskAgent(NamedTuple):
    """A signature of an agent's key. Result: bytes, or None when the agent refuses."""

    identity: Identity
    data: bytes
    algorithm: str


Question = AskText | AskPrivateKey | AskAgent


# --- effects --------------------------------------------------------------------------------------------------------


class Send(NamedTuple):
    """Send a message. No result."""

    message: Message


class Receive(NamedTuple):
    """The next authentication message. ``namespace`` decides what 60 to 79 mean; others than ``kinds`` are fatal."""

    namespace: str
    kinds: tuple[type[Message], ...]


class Ask(NamedTuple):
    question: Question


class Tell(NamedTuple):
    """Text for the log, or at level 0 for the person; safe for a terminal. No result."""

    level: int
    text: str


Effect = Send | Receive | Ask | Tell
T = TypeVar("T")
Flow = Generator[Effect, Any, T]
