"""Bundles of small files: a directory read into them, files made from them; csrc/bundle/bundle.h says what they are."""

from typing import Final

MIN_ROOM: Final[int]  # bytes; what any entry without content fits
PRESERVE: Final[int]  # options of unpack: mode and times exactly as stated
SET_ID: Final[int]  # ... with set-id and sticky bits

class Packer:
    """Reads a directory. Takes the descriptor ``directory`` over unless it raises OSError. For one thread."""

    def __init__(self, directory: int) -> None: ...
    def next(self, room: int) -> bytes:
        """The next entries, in at most ``room`` bytes; b"" at the end. Raises OSError.

        What is not a regular file, or too large for a bundle, or changed while it was read, is only named.
        """

    def close(self) -> None: ...

def entries(bundle: bytes) -> list[tuple[bytes, int, bool, int]]:
    """(name, size, whether its content is there, where its ATTRS begin) of each entry. Raises ProtocolError.

    Names are as they came: for nobody to trust. The size of one that is whole is that of its content.
    """

def unpack(bundle: bytes, directory: int, options: int) -> tuple[int, ...]:
    """Makes the files that are whole, in ``directory``; the indexes of those that could not be made.

    Names that lead elsewhere, links and everything that is no regular file are among those. Raises ProtocolError for a
    bundle that is none, before anything is done.
    """
