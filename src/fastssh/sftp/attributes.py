"""File attributes (draft-ietf-secsh-filexfer-02 section 5)."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass

from fastssh.sftp.constants import AttrFlags
from fastssh.wire.codec import UINT32_MAX, Reader, string, uint32, uint64
from fastssh.wire.fields import STRING, Field, counted, pair

_SIZE, _UIDGID, _PERMISSIONS, _ACMODTIME = (
    int(flag) for flag in (AttrFlags.SIZE, AttrFlags.UIDGID, AttrFlags.PERMISSIONS, AttrFlags.ACMODTIME)
)
_EXTENDED = int(AttrFlags.EXTENDED)

# What nearly every server sends: all four groups, nothing extended.
_USUAL_FLAGS = _SIZE | _UIDGID | _PERMISSIONS | _ACMODTIME
_USUAL = struct.Struct(">QIIIII")
_PAIR = struct.Struct(">II")
_EXTENSIONS = counted(pair(STRING, STRING))


@dataclass(slots=True)
class SFTPAttributes:
    """What is known of a file; None for what the server did not say, or what is not to be changed.

    ``size`` in bytes; ``permissions`` is st_mode with its file type bits; times in whole seconds since 1970, unsigned.
    ``uid`` and ``gid`` travel together, and so do ``atime`` and ``mtime``.
    """

    size: int | None = None
    uid: int | None = None
    gid: int | None = None
    permissions: int | None = None
    atime: int | None = None
    mtime: int | None = None
    extended: tuple[tuple[bytes, bytes], ...] = ()

    @classmethod
    def from_stat(cls, st: os.stat_result) -> SFTPAttributes:
        """The attributes of a local file. Times outside the protocol's 32 bits are moved to the nearest end."""
        return cls(st.st_size, st.st_uid, st.st_gid, st.st_mode, wire_time(st.st_atime_ns), wire_time(st.st_mtime_ns))

    def is_dir(self) -> bool:
        """A directory, as far as is known."""
        return self.permissions is not None and stat.S_ISDIR(self.permissions)

    def is_file(self) -> bool:
        """A regular file, as far as is known."""
        return self.permissions is not None and stat.S_ISREG(self.permissions)

    def is_symlink(self) -> bool:
        """A symbolic link, as far as is known."""
        return self.permissions is not None and stat.S_ISLNK(self.permissions)

    def encode(self) -> bytes:
        """The ATTRS structure. ValueError where only one of a pair is set, or a value is out of its range."""
        flags = 0
        parts = [b""]
        if self.size is not None:
            flags |= _SIZE
            parts.append(_checked(uint64, "size", self.size))
        for flag, first, second, names in (
            (_UIDGID, self.uid, self.gid, "uid and gid"),
            (_PERMISSIONS, self.permissions, None, "permissions"),
            (_ACMODTIME, self.atime, self.mtime, "atime and mtime"),
        ):
            if first is None and second is None:
                continue
            flags |= flag
            if first is None or (second is None and flag != _PERMISSIONS):
                raise ValueError(f"{names} are set together or not at all")
            parts.append(_checked(uint32, names, first))
            if second is not None:
                parts.append(_checked(uint32, names, second))
        if self.extended:
            flags |= _EXTENDED
            parts.append(uint32(len(self.extended)))
            parts.extend(string(kind) + string(data) for kind, data in self.extended)
        parts[0] = uint32(flags)
        return b"".join(parts)

    @classmethod
    def decode(cls, reader: Reader) -> SFTPAttributes:
        """Reads an ATTRS structure. Flags unknown to version 3 carry nothing and are passed over, as OpenSSH does."""
        flags = reader.uint32()
        if flags == _USUAL_FLAGS:
            size, uid, gid, permissions, atime, mtime = _USUAL.unpack(reader.raw(_USUAL.size))
            return cls(size, uid, gid, permissions, atime, mtime)
        attributes = cls()
        if flags & _SIZE:
            attributes.size = reader.uint64()
        if flags & _UIDGID:
            attributes.uid, attributes.gid = _PAIR.unpack(reader.raw(8))
        if flags & _PERMISSIONS:
            attributes.permissions = reader.uint32()
        if flags & _ACMODTIME:
            attributes.atime, attributes.mtime = _PAIR.unpack(reader.raw(8))
        if flags & _EXTENDED:
            attributes.extended = _EXTENSIONS.read(reader)
        return attributes


def _checked(write: Callable[[int], bytes], name: str, value: int) -> bytes:
    try:
        return write(value)
    except OverflowError:
        raise ValueError(f"{name} out of range: {value}") from None


def wire_time(nanoseconds: int) -> int:
    """Whole seconds as the protocol can carry them: 1970 to 2106."""
    return min(max(nanoseconds // 1_000_000_000, 0), UINT32_MAX)


ATTRS = Field(SFTPAttributes.decode, SFTPAttributes.encode, 4)
