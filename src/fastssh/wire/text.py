"""Text of a peer on its way to a terminal: one place where control characters are taken out of it."""

from __future__ import annotations

import unicodedata

# Cc control, Cf format (bidirectional overrides, zero-width characters), Cs surrogates, Co private use, Cn unassigned,
# Zl and Zp line and paragraph separators. Everything else a terminal shows as itself.
_ESCAPED = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


def _escape(character: str) -> str:
    code = ord(character)
    if code <= 0xFF:
        return f"\\{code:03o}"  # octal, as vis(3) and OpenSSH write it
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def printable(text: str, *, newlines: bool = False) -> str:
    """``text`` with every character that could drive a terminal written as an escape (``\\033``, ``\\u202e``).

    Surrogates, which ``errors="surrogateescape"`` makes of bytes that are not UTF-8, are escaped as the byte they stand
    for. With ``newlines`` line feeds and tabs stay, and CR LF becomes a line feed: for banners and other text of
    several lines. The result can always be encoded in UTF-8.
    """
    if text.isascii() and text.isprintable():
        return text
    if newlines:
        text = text.replace("\r\n", "\n")
    kept = "\n\t" if newlines else ""
    parts: list[str] = []
    for character in text:
        if character in kept or unicodedata.category(character) not in _ESCAPED:
            parts.append(character)
        elif 0xDC80 <= ord(character) <= 0xDCFF:
            parts.append(f"\\{ord(character) - 0xDC00:03o}")
        else:
            parts.append(_escape(character))
    return "".join(parts)
