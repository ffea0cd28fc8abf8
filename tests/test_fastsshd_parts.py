"""The parts of fastsshd that can be looked at without a server: its command line, users files, checks, its manual."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh.aio.dial import set_class
from fastssh.aio.server.connection import ServerConnection
from fastssh.aio.server.program import Launch
from fastssh.aio.tty import Terminal, WindowSize
from fastssh.cli.sshd import arguments as sshd_arguments
from fastssh.cli.tool import UsageError
from fastssh.config.server.evaluate import load
from fastssh.config.server.match import ConnectionFacts
from fastssh.config.server.values import PermitRootLogin
from fastssh.config.values import LogLevel
from fastssh.connection.channel import Channel
from fastssh.daemon import internal_sftp
from fastssh.daemon.host_keys import load_host_keys, own_host_key
from fastssh.daemon.log import LONGEST, Log
from fastssh.daemon.login.access import nologin_text, root_may
from fastssh.daemon.login.accounts import SystemAccounts
from fastssh.daemon.login.passwords import HashedPasswords, PamPasswords, passwords_for
from fastssh.daemon.login.users_file import UsersFile, load_users, parse_users
from fastssh.daemon.moduli import load_moduli, parse_moduli
from fastssh.daemon.pid_file import PidFile
from fastssh.daemon.privileges import PrivilegeError, check_chroot
from fastssh.daemon.session import sessions
from fastssh.errors import ConfigError
from fastssh.keys.key_options import KeyOptions
from tests.support.fastsshd import moduli_line
from tests.support.peers import Keys

HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()


class Lines:
    """A log that is kept."""

    def __init__(self, level: LogLevel = LogLevel.DEBUG3) -> None:
        self.lines: list[str] = []
        self.log = Log(level, lambda level, line: self.lines.append(line))


# --- users files ------------------------------------------------------------------------------------------------------


def test_a_users_file_is_read() -> None:
    users = parse_users(f"# comment\n\nann:{HASH}:/srv/ann:rw\r\nbob:*:/srv/bob:ro:/srv/keys\n", "users")
    ann, bob = users.find("ann"), users.find("bob")
    assert ann and bob and users.find("cat") is None
    assert (ann.root, ann.read_only, ann.keys_file, ann.password_hash) == ("/srv/ann", False, None, HASH)
    assert (bob.root, bob.read_only, bob.keys_file, bob.password_hash) == ("/srv/bob", True, "/srv/keys", "")
    assert HASH not in repr(ann)


@pytest.mark.parametrize(("line", "reason"), [
    ("ann", "is wanted"), (f"ann:{HASH}:/srv", "is wanted"), (f":{HASH}:/srv:rw", "user name"),
    (f"-x:{HASH}:/srv:rw", "user name"), ("ann:secret:/srv:rw", "not bcrypt's"), ("ann::/srv:rw", "not bcrypt's"),
    (f"ann:{HASH}:srv:rw", "not absolute"), (f"ann:{HASH}:/srv:write", "neither ro nor rw"),
    (f"ann:{HASH}:/srv:rw:keys", "not absolute"), ("ann:$2b$31$" + "x" * 53 + ":/srv:rw", "cost from 4 to 16"),
    ("ann:*:/s\0:rw", "not absolute"),
])  # fmt: skip
def test_row24_a_line_of_a_users_file_that_is_not_understood_is_an_error(line: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"^users:2: .*{re.escape(reason)}"):
        parse_users(f"#\n{line}\n", "users")
    with pytest.raises(ConfigError, match="is there already"):
        parse_users("ann:*:/srv:rw\nann:*:/srv:rw", "users")


@given(st.text())
def test_row24_any_text_is_a_users_file_or_a_named_error(text: str) -> None:
    try:
        users = parse_users(text, "users")
    except ConfigError as error:
        assert re.match(r"users:\d+: ", str(error))
    else:
        assert isinstance(users, UsersFile)


def test_row24_a_users_file_is_regular_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text("ann:*:/srv:rw\n")
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="closed to others"):
        load_users(str(path))
    path.chmod(0o600)
    assert load_users(str(path)).find("ann")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ConfigError, match="not a regular file"):
        load_users(str(tmp_path / "fifo"))


# --- passwords --------------------------------------------------------------------------------------------------------


def test_a_password_is_compared_whole() -> None:
    long = "x" * 72
    hashed = bcrypt.hashpw(long.encode(), bcrypt.gensalt(4)).decode()
    users = parse_users(f"ann:{HASH}:/srv:rw\nbob:*:/srv:rw\ncat:{hashed}:/srv:rw\n", "users")
    passwords = HashedPasswords(users)
    assert passwords.check(users.find("ann"), "secret")
    for wrong in ("", "secret ", "secre", "s\0ecret", "secret\0", "\ud800"):
        assert not passwords.check(users.find("ann"), wrong)
    assert passwords.check(users.find("cat"), long)
    assert not passwords.check(users.find("cat"), long + "y")  # bcrypt would not look at the last one
    assert not passwords.check(users.find("bob"), "secret")
    assert not passwords.check(None, "secret")


def test_pam_is_asked_only_where_it_is_wanted_and_there(monkeypatch: pytest.MonkeyPatch) -> None:
    on, off = (load(None, overrides=[f"UsePAM {value}"]).settings for value in ("yes", "no"))
    assert passwords_for(off, None) == "there is no UsersFile, and UsePAM is no"
    assert isinstance(passwords_for(on, None), PamPasswords)
    monkeypatch.setattr("fastssh.daemon.login.pam.LIBRARIES", ("libc.so.6",))
    with pytest.raises(ConfigError, match="UsePAM needs PAM: "):
        passwords_for(on, None)
    monkeypatch.setattr("fastssh.daemon.login.pam.LIBRARIES", ("libnowhere.so",))
    with pytest.raises(ConfigError, match="UsePAM needs PAM: libpam is not there"):
        passwords_for(on, None)


# --- accounts and access ----------------------------------------------------------------------------------------------


@given(st.text())
def test_any_text_may_be_looked_up_as_a_user(name: str) -> None:
    user = SystemAccounts().find(name)
    assert user is None or user.name == name


@pytest.mark.parametrize("permit", list(PermitRootLogin))
@pytest.mark.parametrize("method", ["publickey", "password"])
@pytest.mark.parametrize("forced", [True, False])
def test_permit_root_login_is_a_table(permit: PermitRootLogin, method: str, forced: bool) -> None:
    expected = {
        PermitRootLogin.YES: True,
        PermitRootLogin.NO: False,
        PermitRootLogin.PROHIBIT_PASSWORD: method == "publickey",
        PermitRootLogin.FORCED_COMMANDS_ONLY: method == "publickey" and forced,
    }
    assert root_may(permit, method, forced=forced) is expected[permit]


def test_nologin_closes_even_if_it_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "nologin"
    assert nologin_text(str(path)) is None
    path.write_text("closed for repairs\n")
    assert nologin_text(str(path)) == "closed for repairs\n"
    path.unlink()
    path.mkdir()
    assert nologin_text(str(path)) == ""


def test_a_chroot_is_a_directory_of_roots_all_the_way(tmp_path: Path) -> None:
    check_chroot("/usr/bin")
    for path, reason in (("usr", "does not begin at root"), ("/usr/nowhere", "No such file"),
                         ("/usr/bin/env", "not a directory"), (str(tmp_path), "bad ownership or modes")):
        with pytest.raises(PrivilegeError, match=reason):
            check_chroot(path)


# --- files of the server's --------------------------------------------------------------------------------------------


def test_row24_a_host_key_of_ones_own_is_made_once_with_mode_0600(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    old = os.umask(0)
    try:
        path = own_host_key()
    finally:
        os.umask(old)
    assert path == tmp_path / "state/fastssh/host_ed25519_key"
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    before = path.read_bytes()
    assert own_host_key() == path and path.read_bytes() == before


def test_row24_a_host_key_that_others_can_read_is_not_used(tmp_path: Path, keys: Keys) -> None:
    open_key = tmp_path / "key"
    open_key.write_bytes(keys.host("ed25519").read_bytes())
    open_key.chmod(0o644)
    lines = Lines()
    settings = load(None, overrides=[("HostKey", str(open_key)), ("HostKey", str(keys.host("rsa")))]).settings
    assert [key.public.family for key in load_host_keys(settings, lines.log)] == ["RSA"]
    assert len(lines.lines) == 1 and "UNPROTECTED PRIVATE KEY FILE" in lines.lines[0]
    with pytest.raises(ConfigError, match="no hostkeys available"):
        load_host_keys(load(None, overrides=[("HostKey", str(open_key))]).settings, lines.log)


def test_a_pid_file_that_cannot_be_written_is_logged(tmp_path: Path) -> None:
    lines = Lines()
    pid_file = PidFile(lines.log)
    pid_file.write(str(tmp_path / "nowhere/pid"))
    assert "Couldn't create pid file" in lines.lines[0]
    pid_file.write(str(tmp_path / "pid"))
    assert (tmp_path / "pid").read_text() == f"{os.getpid()}\n"
    pid_file.write(None)
    assert not (tmp_path / "pid").exists()


@given(st.text())
def test_row19_no_line_of_the_log_drives_a_terminal(text: str) -> None:
    lines = Lines()
    lines.log.info(text)
    assert len(lines.lines) == 1 and len(lines.lines[0]) <= LONGEST + 3
    assert "\n" not in lines.lines[0] and "\033" not in lines.lines[0]


def test_the_level_decides_what_is_logged() -> None:
    for level, count in ((LogLevel.QUIET, 0), (LogLevel.ERROR, 2), (LogLevel.INFO, 3), (LogLevel.DEBUG1, 5)):
        lines = Lines(level)
        for each in (lines.log.fatal, lines.log.error, lines.log.info, lines.log.verbose, lines.log.debug):
            each("x")
        assert len(lines.lines) == count


# --- internal-sftp ----------------------------------------------------------------------------------------------------


def test_options_of_internal_sftp_are_understood_or_refused() -> None:
    assert internal_sftp.read_options(["/usr/lib/sftp-server", "-R"]) is None
    found = internal_sftp.forced("internal-sftp -R -u 027 -d /data/%u -f AUTH -l INFO")
    assert found == internal_sftp.InternalSFTP(True, "/data/%u", 0o027)
    assert internal_sftp.forced("internal-sftpd") is None
    for wrong in ("-P open", "-p read", "-z", "-u 9", "-u 77777", "more", '-d "open'):
        with pytest.raises(ConfigError, match="internal-sftp: "):
            internal_sftp.forced(f"internal-sftp {wrong}")


# --- the command line and the manual ----------------------------------------------------------------------------------


@given(st.lists(st.text(max_size=8), max_size=5))
def test_any_command_line_makes_sense_or_is_told_of(argv: list[str]) -> None:
    try:
        sshd_arguments.read(argv)
    except UsageError as error:
        assert error.status in (None, 255)


def test_what_c_says_of_a_connection_adds_up() -> None:
    facts = sshd_arguments.read(["-T", "-C", "user=ann,addr=192.0.2.1,", "-C", "lport=22,rdomain=blue"]).facts
    assert facts == ConnectionFacts(user="ann", address="192.0.2.1", local_port=22, rdomain="blue")


# --- groups for group exchange ----------------------------------------------------------------------------------------


def test_groups_are_tested_safe_primes_of_sizes_that_are_spoken() -> None:
    good = moduli_line(2048) + moduli_line(3072, generator=5)
    assert [(group.bits, group.g) for group in parse_moduli(good.encode())] == [(2048, 2), (3072, 5)]
    bad = [
        moduli_line(2048, kind=4), moduli_line(2048, tests=7), moduli_line(2048, tests=0), moduli_line(2048, size=2048),
        moduli_line(2048, generator=1), moduli_line(2048, generator=-2), moduli_line(1024, prime=(1 << 1024) - 1),
        moduli_line(9000, prime=(1 << 9000) - 1), moduli_line(2048, prime=1 << 2047), "#" + moduli_line(2048),
        moduli_line(2048).replace(" 2 ", " x "), "20260101000000 2 6 100 2047 2", "2 " * 5000, "\xff\n",
    ]  # fmt: skip
    for line in bad:
        assert parse_moduli(line.encode()) == ()


def test_a_moduli_file_that_is_wanted_and_cannot_be_used_is_told_of(tmp_path: Path) -> None:
    for name, data, reason in (
        ("none", None, "No such file"), ("empty", "", "no group"), (".", None, "regular file"),
    ):  # fmt: skip
        path = tmp_path / name
        if data is not None:
            path.write_text(data)
        lines = Lines()
        assert load_moduli(str(path), lines.log, wanted=False) == () and not lines.lines
        assert load_moduli(str(path), lines.log, wanted=True) == () and reason in lines.lines[0]


# --- the class of service ---------------------------------------------------------------------------------------------


def test_the_class_of_service_is_that_of_what_was_started_last() -> None:
    user, settings = SystemAccounts().find("root"), load(None, overrides=["IPQoS=ef cs1"]).settings
    assert user is not None
    classes: list[int] = []
    lines = Lines(LogLevel.VERBOSE)
    connection = cast(ServerConnection, SimpleNamespace(user="root", where="192.0.2.1 port 22"))
    session = sessions(user, settings, KeyOptions(), {}, classes.append, 0, lines.log)(connection)
    session.channel = cast(Channel, SimpleNamespace(id=0))
    terminal = Terminal("xterm", WindowSize(80, 25))
    for launch in (Launch(), Launch(terminal=terminal), Launch(subsystem="sftp")):
        session.policy.started(session, launch)
    assert classes == [0x20, 0xB8, 0x20]
    assert lines.lines[2].endswith("Starting session: subsystem 'sftp' for root from 192.0.2.1 port 22 id 0")
    with socket.socket() as sock, socket.socket(socket.AF_UNIX) as other:
        for quality, found in ((0x20, 0x20), (-1, 0x20), (0xB8, 0xB8)):
            set_class(sock, quality, print)
            set_class(other, quality, print)
            assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == found
