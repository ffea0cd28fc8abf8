"""fastssh-keyscan's command line: ssh-keyscan's options."""

from __future__ import annotations

from typing import Final, Literal

from fastssh.algorithms import certificate_algorithm
from fastssh.cli import options
from fastssh.cli.tool import Option, Section, Tool, UsageError
from fastssh.config.values import seconds as read_seconds

TOOL: Final = Tool(
    name="fastssh-keyscan",
    summary="gather the host keys of SSH servers",
    about="""Prints the host keys of servers in the form of known_hosts. No login is needed: for each type of key a \
key exchange goes as far as the server's proof that it has the key.

A host is a name, an address or a network (`192.0.2.0/24`, each address of which is asked), or a list \
`address,name,...` of which the first that answers is asked and all are printed. \
Names to print instead may follow after a blank.""",
    more="""Many hosts are asked at once, and each has its own deadline: a host that hangs, talks without end or \
breaks the protocol costs its own keys and nobody else's.

Keys that were gathered so are not verified: who sits between this machine and a server shows a key of its own. \
Compare fingerprints before you trust them.""",
    operands="[host ...]",
    options=(
        options.IPV4,
        options.IPV6,
        Option("-c", "ask for certificates instead of plain keys"),
        Option("-D", "print SSHFP records for the DNS instead of lines for known_hosts"),
        Option("-f", "read hosts from this file, one a line; `-` is standard input", "file", completes="file"),
        Option("-H", "hash the names in the output"),
        Option("-O", "`hashalg=sha1` or `hashalg=sha256`: the hash of SSHFP records; both by default", "option"),
        Option("-p", "port of the hosts", "port"),
        Option("-q", "no comments with the servers' identifications"),
        Option("-T", "how long a host may take to be connected to, to say what it is, and to show its key, each; 5 "
               "seconds by default", "timeout"),
        Option("-t", "types of keys, comma-separated: `rsa`, `ecdsa`, `ed25519`, `ecdsa-sk`, `ed25519-sk`; by default "
               "all", "type", completes="rsa ecdsa ed25519 ecdsa-sk ed25519-sk"),
        Option("-v", "say what happens"),
    ),
    sections=(
        Section("EXIT STATUS", "The exit status is 0 when a key was found, 1 when there was none, and 255 for a type, "
                "a file or a hash that does not exist.", help=True),
        Section("FILES", "`/etc/ssh/ssh_known_hosts` and `~/.ssh/known_hosts` are where keys that were verified go."),
        Section("EXAMPLES", "The Ed25519 key of a host: `fastssh-keyscan -t ed25519 host.example`\n\n"
                "Its fingerprint, to be compared: `fastssh-keyscan -q host.example | fastssh-keygen -lf -`\n\n"
                "Every key in a network, hashed: `fastssh-keyscan -H 192.0.2.0/24`"),
    ),
    see_also=("ssh-keyscan(1)", "fastssh-keygen(1)", "sshd(8)"),
    completes="host",
)  # fmt: skip

_FATAL: Final = 255  # ssh-keyscan's status where the usage is not at fault
#: What each type is asked for by, in the order in which ssh-keyscan asks.
TYPES: Final = {
    "rsa": ("rsa-sha2-512", "rsa-sha2-256"),
    "ecdsa": ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    "ed25519": ("ssh-ed25519",),
    "ecdsa-sk": ("sk-ecdsa-sha2-nistp256@openssh.com",),
    "ed25519-sk": ("sk-ssh-ed25519@openssh.com",),
}
_FULL_NAMES: Final = {"ssh-rsa": "rsa", **{name: kind for kind, names in TYPES.items() for name in names}}


class Arguments:
    """A command line that makes sense. ``algorithms``: the names to ask for, a tuple for each type of key."""

    algorithms: tuple[tuple[str, ...], ...] = tuple(TYPES.values())
    family: Literal["any", "inet", "inet6"] = "any"
    certificates: bool = False
    sshfp: tuple[str, ...] = ()  #: hashes of the records to print instead of lines
    hashed: bool = False
    port: int = 22
    timeout: float = 5.0
    quiet: bool = False
    verbose: bool = False

    def __init__(self) -> None:
        self.hosts: list[str] = []
        self.files: list[str] = []


def read(argv: list[str]) -> Arguments:
    """The arguments in ``argv`` (without the program's name). Raises UsageError, Asked."""
    given, operands = TOOL.parse(argv)
    found = Arguments()
    found.hosts = operands
    hashes: tuple[str, ...] = ("sha1", "sha256")
    records = False
    for option, value in given:
        match option:
            case "-4":
                found.family = "inet"
            case "-6":
                found.family = "inet6"
            case "-c":
                found.certificates = True
            case "-D":
                records = True
            case "-f":
                found.files.append(value)
            case "-H":
                found.hashed = True
            case "-O":
                hashes = _read_hash(value)
            case "-p":
                found.port = options.read_port(value, "Bad port {!r}")
            case "-q":
                found.quiet = True
            case "-T":
                found.timeout = _read_timeout(value)
            case "-t":
                found.algorithms = _read_types(value)
            case "-v":
                found.verbose = True
    if not found.hosts and not found.files:
        raise UsageError("a host or a file of hosts is needed", usage=True)
    if found.certificates:
        found.algorithms = tuple(tuple(map(certificate_algorithm, names)) for names in found.algorithms)
    if records:
        found.sshfp = hashes
    return found


def _read_timeout(text: str) -> int:
    try:
        value = read_seconds([text])
    except ValueError:
        value = 0
    if not value:
        raise UsageError(f"Bad timeout {text[:40]!r}", usage=True)
    return value


def _read_hash(text: str) -> tuple[str, ...]:
    name, _, value = text.partition("=")
    if name.lower() != "hashalg":
        raise UsageError("Unsupported -O option", status=_FATAL)
    if value.lower() not in ("sha1", "sha256"):
        raise UsageError("Unsupported hash algorithm", status=_FATAL)
    return (value.lower(),)


def _read_types(text: str) -> tuple[tuple[str, ...], ...]:
    """Short names in any letter case, or the types on the wire."""
    wanted = set()
    for name in text.split(","):
        kind = _FULL_NAMES.get(name, name.lower())
        if kind not in TYPES:
            raise UsageError(f'Unknown key type "{name[:64]}"', status=_FATAL)
        wanted.add(kind)
    return tuple(names for kind, names in TYPES.items() if kind in wanted)
