"""What --version says: versions of fastssh and of what it stands on."""

from __future__ import annotations

import sys

from fastssh.version import __version__
from fastssh.wire.text import printable


def version_text() -> str:
    """Versions of fastssh and of what it stands on; nothing heavy is imported for it."""
    lines = [f"fastssh {__version__}, Python {sys.version.split()[0]}"]
    try:
        from fastssh._native import packet

        lines += [_libcrypto_version(packet.__file__), f"AES-GCM: {packet.aesgcm_implementation()}"]
    except (ImportError, OSError, AttributeError) as error:
        lines.append(f"native modules: {printable(str(error))}")
    try:
        from cryptography import __version__ as cryptography_version

        lines.append(f"cryptography {cryptography_version}")
    except ImportError:
        lines.append("cryptography is not installed")
    return "\n".join(lines)


def _libcrypto_version(native_module: str) -> str:
    """What the libcrypto that the native module is linked with calls itself (OpenSSL_version(3))."""
    import ctypes

    function = ctypes.CDLL(native_module).OpenSSL_version
    function.restype, function.argtypes = ctypes.c_char_p, [ctypes.c_int]
    text = function(0)
    return text.decode("ascii", "replace") if isinstance(text, bytes) else "libcrypto of unknown version"
