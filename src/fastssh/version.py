"""The version, without the price of asking the installed package's metadata; a test holds the two together."""

from __future__ import annotations

from typing import Final

__version__: Final = "0.1.0"
