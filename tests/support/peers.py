"""Real servers on loopback, for tests, the demo and the benchmarks: OpenSSH, dropbear, asyncssh, paramiko.

Each start function takes a directory of its own (all files go there), binds a free loopback port, waits until the
server accepts connections and returns a :class:`Peer`. Servers are ended by process id, with those that they forked.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from fastssh.keys.private import generate_private_key, write_key_pair

HOST = "127.0.0.1"
HERE = Path(__file__).resolve().parent
KEY_TYPES = ("ed25519", "ecdsa", "rsa")
START_SECONDS = 20.0
STOP_SECONDS = 10.0
START_ATTEMPTS = 5  # a free port may be taken by somebody else before the server binds it

PASSWORD = "correct horse"
# crypt(3) of PASSWORD: openssl passwd -6 -salt fastssh 'correct horse'
PASSWORD_CRYPT = "$6$fastssh$IQMo7tpPMp6dVRfACZ8daQs.CG0z7W9mukXEEtV8qL2k7FaruFNamuwzgNb4PfpQGhD93Ay3wup2pFny.dWUI."

SYSTEM_PATH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/libexec/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/lib/sftp-server",
)


NOT_HERE = "not here: "  # begins the reason of a skip that CI allows as well: nothing can be installed against it


class PeerMissing(Exception):
    """The program that a peer needs is not installed; the text says what to install."""


class PeerFailed(Exception):
    """A peer did not start; the text holds the end of its log."""


# --- programs -----------------------------------------------------------------------------------------------------


def program(name: str, package: str) -> str:
    """The absolute path of a program (sshd wants to be started by it)."""
    path = shutil.which(name, path=SYSTEM_PATH)
    if path is None:
        raise PeerMissing(f"{name} is missing: apt-get install {package}")
    return path


def sftp_server() -> str:
    for path in SFTP_SERVERS:
        if os.access(path, os.X_OK):
            return path
    raise PeerMissing("sftp-server is missing: apt-get install openssh-sftp-server")


def user_name() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def clean_environment(home: Path, **extra: str) -> dict[str, str]:
    """An environment in which nothing of the person who runs the tests is found."""
    keep = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TZ", "TMPDIR") if name in os.environ}
    return {**keep, "PATH": SYSTEM_PATH, "HOME": str(home), **extra}


# --- keys ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Keys:
    """Throwaway host and user keys of all types, and the authorized_keys file naming the latter."""

    directory: Path

    def host(self, kind: str) -> Path:
        return self.directory / f"host_{kind}"

    def user(self, kind: str) -> Path:
        return self.directory / f"user_{kind}"

    @property
    def authorized(self) -> Path:
        return self.directory / "authorized_keys"


def make_keys(directory: Path) -> Keys:
    """Makes the keys in the directory with our own code, or returns those made there before."""
    keys = Keys(directory)
    if keys.authorized.exists():
        return keys
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in [make(kind) for kind in KEY_TYPES for make in (keys.host, keys.user)]:
        kind = path.name.partition("_")[2]
        write_key_pair(path, generate_private_key(kind, 2048 if kind == "rsa" else None, comment=path.name))
    lines = [keys.user(kind).with_suffix(".pub").read_text() for kind in KEY_TYPES]
    keys.authorized.write_text("".join(lines))
    keys.authorized.chmod(0o600)
    return keys


# --- a running server -----------------------------------------------------------------------------------------------


@dataclass
class Peer:
    """A running server and what a client needs to reach it."""

    name: str
    host: str
    port: int
    user: str
    key: Path  # a private key without passphrase that may log in
    known_hosts: Path  # names the server's host keys
    log: Path
    process: subprocess.Popen[bytes]
    directory: Path  # the server's own files
    keys: Keys
    root: Path  # where clients may read and write; what an SFTP-only peer shows as "/" when it is rooted
    environment: Mapping[str, str] = field(default_factory=dict)  # the server's

    def options(self) -> list[str]:
        """-o options that make scp, ssh and fastssh-scp reach this server with its keys alone."""
        settings = {
            "Port": self.port,
            "User": self.user,
            "IdentityFile": self.key,
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": self.known_hosts,
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
        }
        return [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]

    def connect_options(self) -> dict[str, Any]:
        """The same for fastssh.connect(peer.host, **peer.connect_options())."""
        return {
            "port": self.port,
            "user": self.user,
            "identity_files": [self.key],
            "identities_only": True,
            "agent_socket": "none",
            "user_known_hosts": [self.known_hosts],
            "global_known_hosts": [],
            "strict_host_key_checking": "yes",
        }

    def remote(self, path: str | os.PathLike[str]) -> str:
        """host:path as scp takes it."""
        return f"{self.host}:{os.fspath(path)}"

    def log_tail(self, size: int = 8000) -> str:
        try:
            return self.log.read_bytes()[-size:].decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def settled(self) -> bool:
        """It greets clients, or has ended."""
        return self.process.poll() is not None or _greets(self.port)

    def cpu_seconds(self) -> float:
        """CPU time of the server and all it forked so far, those reaped by it included."""
        return sum(cpu_seconds_of(pid) for pid in [self.process.pid, *descendants(self.process.pid)])

    def sessions(self) -> list[int]:
        """Process ids forked by the server that still run."""
        return descendants(self.process.pid)

    def stop(self) -> None:
        """Ends the server and the processes it forked, which on their own would serve their connection to its end."""
        forked = descendants(self.process.pid)
        if self.process.poll() is None:
            self.process.terminate()
        for pid in forked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


def _processes() -> Iterator[tuple[int, int]]:
    """(pid, parent) of every process."""
    if Path("/proc/self/stat").exists():
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    # "pid (name) state ppid ...": the name may hold anything, so the fields are counted from its end
                    yield int(entry), int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
                except (FileNotFoundError, ProcessLookupError):
                    continue  # ended meanwhile
        return
    for line in subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, check=True).stdout.splitlines():
        pid, parent = line.split()
        yield int(pid), int(parent)


def children(parent: int) -> list[int]:
    """The processes directly below parent, ended ones that nobody reaped among them."""
    return [pid for pid, above in _processes() if above == parent]


def descendants(root: int) -> list[int]:
    """All processes below root, parents first."""
    children: dict[int, list[int]] = {}
    for pid, parent in _processes():
        children.setdefault(parent, []).append(pid)
    found, waiting = [], [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def cpu_seconds_of(pid: int) -> float:
    """user + system time of a process and of the children it reaped (Linux)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Waits for a condition; TimeoutError names it."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(0.01)


def _greets(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=2.0) as connection:
            return connection.recv(4) == b"SSH-"  # so that no handshake is abandoned before the server's first word
    except OSError:
        return False


def _launch(
    name: str,
    directory: Path,
    keys: Keys,
    host_keys: Sequence[str],
    command: Callable[[int], Sequence[str | Path]],
    environment: Mapping[str, str],
    root: Path,
) -> Peer:
    """Starts command(port) and waits for the server's identification on that port."""
    log = directory / "server.log"
    for _ in range(START_ATTEMPTS):
        port = free_port()
        with open(log, "wb") as sink:
            process = subprocess.Popen(
                [os.fspath(part) for part in command(port)],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=directory,
            )
        known_hosts = directory / "known_hosts"
        known_hosts.write_text(
            "".join(f"[{HOST}]:{port} {keys.host(kind).with_suffix('.pub').read_text()}" for kind in host_keys)
        )
        peer = Peer(
            name, HOST, port, user_name(), keys.user("ed25519"), known_hosts, log, process, directory, keys, root,
            environment,
        )  # fmt: skip
        try:
            wait_for(peer.settled, f"{name} on port {port}", START_SECONDS)
        except TimeoutError as error:
            peer.stop()
            raise PeerFailed(f"{error}\n{peer.log_tail()}") from None
        if process.poll() is None:
            return peer
        if "in use" not in peer.log_tail():
            break
    raise PeerFailed(f"{name} ended with status {process.returncode}:\n{peer.log_tail()}")


# --- OpenSSH --------------------------------------------------------------------------------------------------------


@functools.cache
def openssh_version() -> str:
    """As `ssh -V` says it, e.g. "OpenSSH_9.2p1"."""
    said = subprocess.run([program("ssh", "openssh-client"), "-V"], capture_output=True, text=True, timeout=20)
    return said.stderr.split()[0].rstrip(",")


@functools.cache
def openssh_offers(kind: str) -> tuple[str, ...]:
    """What the installed OpenSSH knows: kind is "cipher", "mac", "kex", "key" ... (ssh -Q)."""
    said = subprocess.run(
        [program("ssh", "openssh-client"), "-Q", kind], capture_output=True, text=True, timeout=20, check=True
    )
    return tuple(said.stdout.split())


def _config_text(
    settings: Mapping[str, object], keys: Keys, host_keys: Sequence[str], lines: Sequence[str]
) -> str:
    """A sshd_config; a setting that is None is left out."""
    return "".join([
        *(f"{name} {value}\n" for name, value in settings.items() if value is not None),
        *(f"HostKey {keys.host(kind)}\n" for kind in host_keys),
        *(f"{line}\n" for line in lines),
    ])


def start_sshd(
    directory: Path,
    *,
    keys: Keys | None = None,
    host_keys: Sequence[str] = KEY_TYPES,
    sftp: str = "external",
    sftp_arguments: str = "",
    home: Path | None = None,
    lines: Sequence[str] = (),
    **config: object,
) -> Peer:
    """A stock sshd, started as root or as an ordinary user.

    sftp is "external" (sftp-server, what distributions configure) or "internal" (internal-sftp). config sets or
    replaces sshd_config keywords (``RekeyLimit="1M"``); lines are appended as they are (Match blocks). On Linux the
    account gets a home directory of its own through a preloaded shim: the shell that starts sftp-server would run the
    person's ~/.bashrc. With home it is that directory, and the account has PASSWORD as its password.
    """
    sshd = program("sshd", "openssh-server")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    keys = keys or make_keys(directory / "keys")
    root = directory / "root"
    root.mkdir(exist_ok=True)
    if os.getuid() == 0:
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # what a root sshd insists on, and init scripts make
    server = {"external": sftp_server, "internal": lambda: "internal-sftp"}[sftp]()
    settings: dict[str, object] = {
        "ListenAddress": HOST,
        "PidFile": "none",
        "UsePAM": "no",
        "StrictModes": "no",
        "AuthorizedKeysFile": keys.authorized if home is None else ".ssh/authorized_keys",
        "PasswordAuthentication": "no" if home is None else "yes",
        "PermitRootLogin": "yes",
        "PermitUserRC": "no",
        "PrintMotd": "no",
        "PrintLastLog": "no",
        "LogLevel": "VERBOSE",
        "MaxStartups": "100",
        "AcceptEnv": "FASTSSH_*",
        "Subsystem": f"sftp {server} {sftp_arguments}".rstrip(),
        **config,
    }
    path = directory / "sshd_config"
    path.write_text(_config_text(settings, keys, host_keys, lines))
    environment = clean_environment(directory)
    if home is not None or sys.platform == "linux":
        environment |= _shimmed(home or directory / "home", keys)
    # Penalties (9.8 and later) would let one test's failed logins refuse the next test's connection.
    penalties = ["-o", "PerSourcePenalties=no"]
    if subprocess.run([sshd, "-t", "-f", path, *penalties], capture_output=True, timeout=20).returncode != 0:
        penalties = []
    return _launch(
        "sshd",
        directory,
        keys,
        host_keys,
        lambda port: [sshd, "-D", "-e", "-f", path, "-p", str(port), *penalties],
        environment,
        root,
    )


FASTSSHD = Path(sys.executable).parent / "fastsshd"


def start_fastsshd(
    directory: Path,
    *,
    keys: Keys | None = None,
    host_keys: Sequence[str] = KEY_TYPES,
    home: Path | None = None,
    account: str | None = None,
    lines: Sequence[str] = (),
    arguments: Sequence[str | Path] = (),
    program: Sequence[str | Path] = (FASTSSHD,),
    **config: object,
) -> Peer:
    """Our own server. config and lines as for start_sshd, but for what they do not set to None, which is left out.

    The account (who runs this, or ``account``) has a home of its own as with start_sshd; with ``home`` it is that one,
    and its keys are used. arguments are added to the command line, and program is what is run.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    keys = keys or make_keys(directory / "keys")
    root = directory / "root"
    root.mkdir(exist_ok=True)
    settings: dict[str, object] = {
        "ListenAddress": HOST,
        "PidFile": "none",
        "StrictModes": "no",
        "AuthorizedKeysFile": keys.authorized if home is None else ".ssh/authorized_keys",
        "PermitRootLogin": "yes",
        "LogLevel": "VERBOSE",
        "MaxStartups": "100",
        "PerSourcePenalties": "no",  # one test's failed logins would refuse the next test's connection
        "AcceptEnv": "FASTSSH_*",
        "Subsystem": "sftp internal-sftp",
        **config,
    }
    path = directory / "sshd_config"
    path.write_text(_config_text(settings, keys, host_keys, lines))
    environment = clean_environment(directory)
    if home is not None or sys.platform == "linux":
        environment |= _shimmed(home or directory / "home", keys, account)
    peer = _launch(
        "fastsshd",
        directory,
        keys,
        host_keys,
        lambda port: [*program, "-D", "-e", "-f", path, "-p", str(port), *arguments],
        environment,
        root,
    )
    return replace(peer, user=account or peer.user)


def build_shim(directory: Path) -> Path:
    """passwd_shim.c as a library in ``directory``."""
    shim = directory / "passwd_shim.so"
    if not shim.exists():
        command = [program("gcc", "gcc"), "-shared", "-fPIC", "-o", shim, HERE / "passwd_shim.c", "-ldl"]
        subprocess.run(command, check=True, timeout=60)
    return shim


def _shimmed(home: Path, keys: Keys, account: str | None = None) -> dict[str, str]:
    """Environment that gives the account a home with our keys in it, and a password: see passwd_shim.c."""
    if sys.platform != "linux":
        raise PeerMissing("the account shim needs Linux's LD_PRELOAD")
    shim = build_shim(keys.directory)
    ssh = home / ".ssh"
    ssh.mkdir(parents=True, exist_ok=True, mode=0o700)
    shutil.copy(keys.authorized, ssh / "authorized_keys")
    return {
        "LD_PRELOAD": str(shim),
        "SHIM_USER": account or user_name(),
        "SHIM_HOME": str(home),
        "SHIM_CRYPT": PASSWORD_CRYPT,
    }


# --- dropbear -------------------------------------------------------------------------------------------------------


def start_dropbear(directory: Path, *, keys: Keys | None = None, arguments: Sequence[str] = ()) -> Peer:
    """dropbear, with its sftp-server where it was built to look for one (Debian: /usr/lib/sftp-server)."""
    dropbear = program("dropbear", "dropbear-bin")
    convert = program("dropbearconvert", "dropbear-bin")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    keys = keys or make_keys(directory / "keys")
    root, home = directory / "root", directory / "home"
    root.mkdir(exist_ok=True)
    home.mkdir(exist_ok=True, mode=0o700)
    for kind in KEY_TYPES:
        subprocess.run(
            [convert, "openssh", "dropbear", keys.host(kind), directory / f"dropbear_{kind}"],
            check=True,
            capture_output=True,
            timeout=60,
        )
    host_keys = [part for kind in KEY_TYPES for part in ("-r", directory / f"dropbear_{kind}")]
    return _launch(
        "dropbear",
        directory,
        keys,
        KEY_TYPES,
        lambda port: [
            *(dropbear, "-F", "-E", "-m", "-P", directory / "pid", "-p", f"{HOST}:{port}"),
            *host_keys,
            *arguments,
        ],
        clean_environment(directory, **_shimmed(home, keys)),
        root,
    )


# --- Python servers -------------------------------------------------------------------------------------------------


def _start_python(
    name: str, script: str, directory: Path, keys: Keys | None, host_keys: Sequence[str], arguments: Sequence[str]
) -> Peer:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    keys = keys or make_keys(directory / "keys")
    root = directory / "root"
    root.mkdir(exist_ok=True)
    return _launch(
        name,
        directory,
        keys,
        host_keys,
        lambda port: [
            *(sys.executable, HERE / script, "--port", str(port), "--root", root),
            *("--authorized-keys", keys.authorized, "--password", PASSWORD),
            *(part for kind in host_keys for part in ("--host-key", keys.host(kind))),
            *arguments,
        ],
        clean_environment(directory),
        root,
    )


def start_asyncssh(directory: Path, *, keys: Keys | None = None, arguments: Sequence[str] = ()) -> Peer:
    """An asyncssh server in a process of its own; SFTP shows directory/root as "/"."""
    return _start_python("asyncssh", "asyncssh_server.py", directory, keys, KEY_TYPES, arguments)


def start_paramiko(directory: Path, *, keys: Keys | None = None, arguments: Sequence[str] = ()) -> Peer:
    """A paramiko server in a process of its own; SFTP shows directory/root as "/"."""
    return _start_python("paramiko", "paramiko_server.py", directory, keys, KEY_TYPES, arguments)
