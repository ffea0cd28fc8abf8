"""known_hosts files: which keys a host is known by (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).

Trust comes from here alone, so every doubt ends on the refusing side: a file that exists and cannot be read is an
error, a key of a type we do not speak still says that the host is known, and one ``@revoked`` line outweighs all.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import enum
import hashlib
import hmac
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from fastssh.algorithms import HOST_CERTIFICATES, HOST_KEYS, key_type
from fastssh.errors import HostKeyError, KeyFormatError
from fastssh.files import Path, open_regular, read_regular, shown
from fastssh.keys.files import Note
from fastssh.keys.kinds import KINDS
from fastssh.keys.patterns import lower, match_pattern_list
from fastssh.keys.public import PublicKey, decode_key_fields, decode_public_key

if TYPE_CHECKING:
    from fastssh.keys.certificate import Certificate

DEFAULT_PORT = 22
#: Bytes; a hundred thousand hosts take about half of it.
MAX_KNOWN_HOSTS_FILE = 64 * 1024 * 1024

_BLANKS = re.compile(r"[ \t]+")
_HASH_MAGIC = "|1|"
SALT_SIZE = 20  # bytes; a SHA-1 hash has as many
#: Characters that mean something else in a line's first field, so that no host name with one is ever written.
_UNSAFE_IN_NAME = frozenset("*?!,|#@\"\\")


class HostStatus(enum.Enum):
    """What the files say of a host and the key it showed."""

    MATCH = "match"
    UNKNOWN = "unknown"
    CHANGED = "changed"
    REVOKED = "revoked"


class Marker(enum.Enum):
    NONE = ""
    CERT_AUTHORITY = "@cert-authority"
    REVOKED = "@revoked"


class HostEntry(NamedTuple):
    """One line: the names as written, the key and where it stands."""

    marker: Marker
    names: str
    algorithm: str  #: key type on the wire
    blob: bytes
    comment: str
    file: str  #: fit for a message
    line: int  #: from 1
    key: PublicKey | None  #: None for a type that we do not speak, e.g. a security key

    @property
    def where(self) -> str:
        """``file:line``."""
        return f"{self.file}:{self.line}"

    @property
    def hashed(self) -> bool:
        return self.names.startswith("|")


class HostEntries(NamedTuple):
    """What is known of one host, in the order of files and lines."""

    keys: tuple[HostEntry, ...] = ()  #: trusted
    authorities: tuple[HostEntry, ...] = ()  #: ``@cert-authority``: trusted to certify, never as a key of the host
    revoked: tuple[HostEntry, ...] = ()  #: never to be trusted, under any name the host goes by


class Match(NamedTuple):
    """``entries`` are the lines that led to ``status``: those that match, that differ or that revoke.

    ``address`` is the answer for the host's address alone, where one was given (CheckHostIP): a key that is right for
    the name and ``CHANGED`` for the address is worth a warning. Revocation under either makes ``status`` REVOKED.
    """

    status: HostStatus
    entries: tuple[HostEntry, ...] = ()
    address: Match | None = None


def host_name(host: str, port: int = DEFAULT_PORT) -> str:
    """The name of a host in known_hosts: lower case, ``[host]:port`` unless the port is 22 (or 0, for an alias)."""
    name = lower(host)
    return name if port in (0, DEFAULT_PORT) else f"[{name}]:{port}"


def hash_name(name: str, salt: bytes) -> str:
    """``|1|salt|hash`` of a name from :func:`host_name`; the salt has 20 bytes."""
    value = hmac.digest(salt, _name_bytes(name), hashlib.sha1)
    return _HASH_MAGIC + "|".join(base64.b64encode(part).decode("ascii") for part in (salt, value))


def _name_bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


class KnownHosts:
    """The lines of one or more files. Lines are looked at when a host is looked up."""

    def __init__(self, lines: Iterable[tuple[str, int, str]] = ()) -> None:
        """``lines`` are (file, line number from 1, text)."""
        self._lines = [
            (file, number, text)
            for file, number, raw in lines
            if (text := raw.strip(" \t\r")) and not text.startswith("#")
        ]
        self._found: dict[str, HostEntries] = {}  # a name is looked up for the offer and again for the answer

    @classmethod
    def load(cls, paths: Iterable[Path]) -> KnownHosts:
        """Reads files in order. One that does not exist is empty; one that cannot be read is :class:`HostKeyError`."""
        lines: list[tuple[str, int, str]] = []
        for path in paths:
            lines += _numbered(_read(path).decode("utf-8", "surrogateescape"), shown(path))
        return cls(lines)

    @classmethod
    def parse(cls, text: str, name: str = "known_hosts") -> KnownHosts:
        """The lines of ``text``; ``name`` stands for the file's."""
        return cls(_numbered(text, name))

    def with_text(self, text: str, name: str) -> KnownHosts:
        """These lines, and those of ``text`` behind them."""
        more = KnownHosts.parse(text, name)
        both = KnownHosts()
        both._lines = self._lines + more._lines
        return both

    def lookup(self, host: str, port: int = DEFAULT_PORT, address: str | None = None) -> HostEntries:
        """What is known of ``host`` at ``port``.

        Keys and authorities are those of that name; revocations are gathered also from the name without port and
        from ``address``.
        """
        found = self._find(host_name(host, port))
        others = [host_name(host)] if port not in (0, DEFAULT_PORT) else []
        others += [host_name(address, port)] if address is not None else []
        revoked = dict.fromkeys(found.revoked)
        for name in others:
            revoked |= dict.fromkeys(self._find(name).revoked)
        return HostEntries(found.keys, found.authorities, tuple(revoked))

    def check(self, host: str, port: int, key: PublicKey, address: str | None = None) -> Match:
        """Whether ``key`` is the host's.

        Any other key for the name, of whatever type, means CHANGED, as in OpenSSH. A host at another port than 22 of
        which nothing is known may also show a key of the name without port.
        """
        found = self.lookup(host, port, address)
        by_address = self.check(address, port, key) if address is not None else None
        if revoked := _with_key(found.revoked, key):
            return Match(HostStatus.REVOKED, revoked, by_address)
        if matching := _with_key(found.keys, key):
            return Match(HostStatus.MATCH, matching, by_address)
        if found.keys:
            return Match(HostStatus.CHANGED, found.keys, by_address)
        if matching := _with_key(self._without_port(host, port), key):
            return Match(HostStatus.MATCH, matching, by_address)
        return Match(HostStatus.UNKNOWN, (), by_address)

    def check_certificate(self, host: str, port: int, certificate: Certificate) -> Match:
        """Whether an authority that is known for the host made ``certificate``; all else in it is not looked at.

        MATCH, REVOKED when the certified key or the authority is, else UNKNOWN.
        """
        found = self.lookup(host, port)
        for key in (certificate.plain, certificate.authority):
            if revoked := _with_key(found.revoked, key):
                return Match(HostStatus.REVOKED, revoked)
        matching = _with_key(self._authorities(host, port), certificate.authority)
        return Match(HostStatus.MATCH if matching else HostStatus.UNKNOWN, matching)

    def _authorities(self, host: str, port: int) -> tuple[HostEntry, ...]:
        named = self._find(host_name(host, port)).authorities
        return named or (self._find(host_name(host)).authorities if port not in (0, DEFAULT_PORT) else ())

    def algorithms_for(self, host: str, port: int, default: tuple[str, ...] = HOST_KEYS) -> tuple[str, ...]:
        """``default`` reordered so that the server shows a key that we know, if it has one.

        As OpenSSH does it: when the type most preferred is known nothing changes, else the known types come first.
        Certificates stand before all else where an authority is known for the host, and are not asked for elsewhere.
        """
        certificates = HOST_CERTIFICATES if self._authorities(host, port) else ()
        entries = self.lookup(host, port).keys or self._without_port(host, port)
        known = {entry.algorithm for entry in entries}
        if not default or key_type(default[0]) in known:
            return (*certificates, *default)
        return (*certificates, *sorted(default, key=lambda algorithm: key_type(algorithm) not in known))

    def with_key(self, key: PublicKey) -> tuple[HostEntry, ...]:
        """The trusted lines of any host that have ``key``: other names that a new host may be known by."""
        text = base64.b64encode(key.blob).decode("ascii")
        entries = (self._entry(*line) for line in self._lines if text in line[2])
        return tuple(
            entry
            for entry in entries
            if isinstance(entry, HostEntry) and entry.marker is Marker.NONE and entry.blob == key.blob
        )

    def notes(self) -> Iterator[Note]:
        """The lines that say nothing, each with the reason. They never stop a lookup."""
        for line in self._lines:
            if isinstance(result := self._entry(*line), Note):
                yield result

    def _without_port(self, host: str, port: int) -> tuple[HostEntry, ...]:
        return self._find(host_name(host)).keys if port not in (0, DEFAULT_PORT) else ()

    def _find(self, name: str) -> HostEntries:
        if name not in self._found:
            self._found[name] = self._search(name)
        return self._found[name]

    def _search(self, name: str) -> HostEntries:
        found: dict[Marker, list[HostEntry]] = {marker: [] for marker in Marker}
        for file, number, text in self._lines:
            # The names first: most lines are of other hosts and need not be understood further.
            start = _BLANKS.split(text, 2)
            names = start[1] if text.startswith("@") and len(start) > 1 else start[0]
            if not names_match(names, name):
                continue
            entry = self._entry(file, number, text)
            if isinstance(entry, HostEntry):
                found[entry.marker].append(entry)
        return HostEntries(
            tuple(found[Marker.NONE]), tuple(found[Marker.CERT_AUTHORITY]), tuple(found[Marker.REVOKED])
        )

    @staticmethod
    def _entry(file: str, number: int, text: str) -> HostEntry | Note:
        try:
            marker = Marker.NONE
            if text.startswith("@"):
                word, *rest = _BLANKS.split(text, 1)
                marker, text = Marker(word), rest[0] if rest else ""
            fields = _BLANKS.split(text, 3)
            if len(fields) < 3:
                raise KeyFormatError("names, key type and key are wanted")
            names, algorithm, base64_text, *comment = fields
            if names.startswith("|"):
                unhash(names)
            blob = decode_key_fields(algorithm, base64_text)
            key = decode_public_key(blob) if algorithm in KINDS else None
        except KeyFormatError as error:
            return Note(file, number, str(error))
        except ValueError:
            return Note(file, number, "unknown marker")
        return HostEntry(marker, names, algorithm, blob, comment[0] if comment else "", file, number, key)


def _numbered(text: str, name: str) -> Iterator[tuple[str, int, str]]:
    """Lines end with a newline and with nothing else that Unicode counts as one."""
    return ((name, number, line) for number, line in enumerate(text.split("\n"), 1))


def _with_key(entries: Iterable[HostEntry], key: PublicKey) -> tuple[HostEntry, ...]:
    return tuple(entry for entry in entries if entry.blob == key.blob)


def unhash(names: str) -> tuple[bytes, bytes]:
    """Salt and hash of ``|1|salt|hash``. Raises KeyFormatError."""
    try:
        empty, version, *parts = names.split("|")
        salt, value = (binascii.a2b_base64(part.encode("ascii"), strict_mode=True) for part in parts)
    except ValueError:
        raise KeyFormatError("malformed hashed name") from None
    if (empty, version) != ("", "1") or len(salt) != SALT_SIZE or len(value) != SALT_SIZE:
        raise KeyFormatError("malformed hashed name")
    return salt, value


def names_match(names: str, name: str) -> bool:
    """Whether a line's first field names ``name``, which is one of :func:`host_name`."""
    if not names.startswith("|"):
        return match_pattern_list(name, lower(names).split(","))
    try:
        salt, value = unhash(names)
    except KeyFormatError:
        return False
    return hmac.compare_digest(hmac.digest(salt, _name_bytes(name), hashlib.sha1), value)


def _is_null_device(path: Path) -> bool:
    """``UserKnownHostsFile /dev/null`` is how people say "none", and the one device that is read and written here."""
    try:
        status = os.stat(path)
        return stat.S_ISCHR(status.st_mode) and status.st_rdev == os.stat(os.devnull).st_rdev
    except (OSError, ValueError):  # the opening that follows tells what is wrong
        return False


def _read(path: Path) -> bytes:
    if _is_null_device(path):
        return b""
    try:
        return read_regular(path, MAX_KNOWN_HOSTS_FILE)[0]
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise HostKeyError(f"{shown(path)}: known hosts cannot be read: {error.strerror}") from None
    except KeyFormatError as error:
        raise HostKeyError(f"known hosts cannot be read: {error}") from None


def writable_name(name: str) -> bool:
    """Whether a line of known_hosts may begin with this name and mean it."""
    return bool(name) and name.isprintable() and " " not in name and not _UNSAFE_IN_NAME & set(name)


def add_known_host(
    path: Path,
    host: str,
    port: int,
    key: PublicKey,
    *,
    hashed: bool,
    address: str | None = None,
    address_port: int = DEFAULT_PORT,
    random: Callable[[int], bytes] = os.urandom,
) -> None:
    """Appends a line for ``host``, and ``address`` if given, with one write, starting a new line where the last was
    left unfinished.

    The file is made 0600 and its folder 0700, whatever the umask; permissions of what exists stay. Nothing is written
    to ``/dev/null``. ``random`` gives the salt of a hashed name. Raises
    :class:`HostKeyError`, with a path and a reason, when the line could not be written whole.
    """
    names = [host_name(host, port)]
    if address is not None and (other := host_name(address, address_port)) != names[0]:
        names.append(other)
    if not host or not all(map(writable_name, names)):
        raise HostKeyError(f"{shown(path)}: {host.encode('unicode_escape').decode('ascii')!r} cannot be a known host")
    if _is_null_device(path):
        return
    entries = [hash_name(name, random(SALT_SIZE)) for name in names] if hashed else [",".join(names)]
    line = "".join(f"{entry} {key.line()}\n" for entry in entries).encode()
    try:
        descriptor, status = _open_for_append(path)
        try:
            size = status.st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line
            written = os.write(descriptor, line)
            if written != len(line):
                # No half line stays, unless somebody else has appended since.
                if os.fstat(descriptor).st_size == size + written:
                    os.ftruncate(descriptor, size)
                raise HostKeyError(f"{shown(path)}: known host not added: the line could not be written whole")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise HostKeyError(f"{shown(path)}: known host not added: {error.strerror}") from None
    except KeyFormatError as error:
        raise HostKeyError(f"known host not added: {error}") from None


def _open_for_append(path: Path) -> tuple[int, os.stat_result]:
    flags = os.O_RDWR | os.O_APPEND
    try:
        return open_regular(path, flags)
    except FileNotFoundError:
        pass
    folder = os.path.dirname(os.path.abspath(path))
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
        os.chmod(folder, 0o700)
    try:
        descriptor, status = open_regular(path, flags | os.O_CREAT | os.O_EXCL)
    except FileExistsError:  # another of us was faster, or the path is a link to a file yet to be made
        return open_regular(path, flags | os.O_CREAT)
    os.fchmod(descriptor, 0o600)
    return descriptor, status
