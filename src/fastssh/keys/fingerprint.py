"""Fingerprints of public keys, for people: SHA256 and MD5 texts and the picture of ``VisualHostKey``."""

from __future__ import annotations

import base64
import hashlib

from fastssh.errors import KeyFormatError

#: Two are what people use; OpenSSH knows the others as well.
HASHES = ("sha256", "md5", "sha1", "sha384", "sha512")

_WIDTH, _HEIGHT = 17, 9
#: One sign for each number of visits; the last two mark where the walk began and ended.
_VISITS = " .o+=*BOX@%&#/^"
_START, _END = "S", "E"


def digest(blob: bytes, hash: str) -> bytes:
    """The hash of a key's wire form; ``hash`` is one of HASHES in any letter case."""
    name = hash.lower()
    if name not in HASHES:
        raise KeyFormatError(f"{hash!r} is not a fingerprint hash: use sha256 or md5")
    return hashlib.new(name, blob, usedforsecurity=False).digest()


def fingerprint(blob: bytes, hash: str = "sha256") -> str:
    """``SHA256:`` (or another hash) with unpadded base64, or ``MD5:`` with colons, as ``ssh-keygen -l`` prints them."""
    value = digest(blob, hash)
    if hash.lower() == "md5":
        return "MD5:" + value.hex(":")
    return f"{hash.upper()}:" + base64.b64encode(value).decode("ascii").rstrip("=")


def randomart(blob: bytes, family: str, bits: int, hash: str = "sha256") -> str:
    """The drunken bishop's walk over the fingerprint, eleven lines, as ``ssh-keygen -lv`` draws it.

    Each pair of bits, lowest first, is one diagonal step on a board of 17 x 9, along the wall where there is one.
    The algorithm: Loss, Limmer, von Gernler, "The drunken bishop: an analysis of the OpenSSH fingerprint visualization
    algorithm" (2009).
    """
    board = [[0] * _WIDTH for _ in range(_HEIGHT)]
    x, y = _WIDTH // 2, _HEIGHT // 2
    for value in digest(blob, hash):
        for shift in (0, 2, 4, 6):
            step = value >> shift
            x = min(max(x + (1 if step & 1 else -1), 0), _WIDTH - 1)
            y = min(max(y + (1 if step & 2 else -1), 0), _HEIGHT - 1)
            board[y][x] = min(board[y][x] + 1, len(_VISITS) - 1)
    picture = [[_VISITS[visits] for visits in row] for row in board]
    picture[_HEIGHT // 2][_WIDTH // 2] = _START
    picture[y][x] = _END
    title = f"[{family} {bits}]"
    lines = [_border((title if len(title) <= _WIDTH else f"[{family}]")[: _WIDTH - 1])]  # cut off as ssh-keygen does
    lines += [f"|{''.join(row)}|" for row in picture]
    lines.append(_border(f"[{hash.upper()}]"))
    return "\n".join(lines)


def _border(text: str) -> str:
    left = (_WIDTH - len(text)) // 2
    return "+" + ("-" * left + text).ljust(_WIDTH, "-") + "+"


_VOWELS, _CONSONANTS = "aeiouy", "bcdfghklmnprstvzx"


def bubblebabble(blob: bytes) -> str:
    """The SHA-1 fingerprint as words that can be spoken, as ``ssh-keygen -B`` prints it.

    The encoding: Antti Huima, "The Bubble Babble Binary Data Encoding" (draft-huima-01, 2000): two bytes are five
    letters, of which the vowels depend on a checksum of all that was before.
    """
    value = hashlib.sha1(blob, usedforsecurity=False).digest()
    words, checksum = "", 1
    for first, second in zip(value[::2], value[1::2], strict=True):
        words += _VOWELS[((first >> 6) + checksum) % 6] + _CONSONANTS[first >> 2 & 15]
        words += _VOWELS[((first & 3) + checksum // 6) % 6]
        words += f"{_CONSONANTS[second >> 4]}-{_CONSONANTS[second & 15]}"
        checksum = (checksum * 5 + first * 7 + second) % 36
    return f"x{words}{_VOWELS[checksum % 6]}x{_VOWELS[checksum // 6]}x"
