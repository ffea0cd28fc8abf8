"""Who may log in to fastsshd, as whom, and what a key or a password is worth: OpenSSH's ssh and sftp ask."""

from __future__ import annotations

import grp
import os
import re
from dataclasses import replace
from pathlib import Path

import bcrypt
import pytest

from fastssh import ClientOptions, connect
from fastssh.daemon.login.passwords import HashedPasswords
from fastssh.daemon.login.users_file import load_users
from fastssh.errors import AuthenticationError
from tests.support import openssh, peers
from tests.support.fastsshd import Start, key_lines, logged, refused, with_keys
from tests.support.peers import PASSWORD, Keys

ROOT = os.getuid() == 0
NOBODY = 65534


# --- keys and their options -------------------------------------------------------------------------------------------


def test_row04_a_keys_command_is_all_that_runs(start_fastsshd: Start, keys: Keys, tmp_path: Path) -> None:
    line = key_lines(keys, 'command="echo key: $SSH_ORIGINAL_COMMAND"')
    peer = with_keys(start_fastsshd, tmp_path, line)
    assert openssh.ssh(peer, "echo free").stdout == b"key: echo free\n"
    assert openssh.ssh(peer, "sftp", options=("-s",)).stdout.startswith(b"key: ")
    peer = with_keys(start_fastsshd, tmp_path, line, ForceCommand="echo config")
    assert openssh.ssh(peer, "echo free").stdout == b"config\n"


@pytest.mark.parametrize("options", [
    "no-such-option", 'from="192.0.2.0/24"', 'from="!127.0.0.1,*"', 'expiry-time="20200101"', "restrict,,pty",
    "cert-authority",
])  # fmt: skip
def test_row04_a_key_whose_options_do_not_admit_the_client_is_refused(
    start_fastsshd: Start, keys: Keys, tmp_path: Path, options: str
) -> None:
    assert refused(with_keys(start_fastsshd, tmp_path, key_lines(keys, options)))


def test_row04_restrict_takes_the_terminal_and_leaves_the_command(
    start_fastsshd: Start, keys: Keys, tmp_path: Path
) -> None:
    peer = with_keys(start_fastsshd, tmp_path, key_lines(keys, 'restrict,from="127.0.0.1",expiry-time="20990101"'))
    done = openssh.ssh(peer, "tty", options=("-tt",))
    assert done.returncode == 255 and b"PTY allocation request failed" in done.stderr
    assert openssh.ssh(peer, "echo in").stdout == b"in\n"
    peer = with_keys(start_fastsshd, tmp_path, key_lines(keys, "restrict,pty"))
    assert openssh.ssh(peer, "tty", options=("-tt",)).stdout.startswith(b"/dev/")
    peer = with_keys(start_fastsshd, tmp_path, key_lines(keys, "restrict,pty"), PermitTTY="no")
    assert openssh.ssh(peer, "tty", options=("-tt",)).returncode == 255


def test_row04_a_restricted_key_forwards_nothing(start_fastsshd: Start, keys: Keys, tmp_path: Path) -> None:
    peer = with_keys(start_fastsshd, tmp_path, key_lines(keys, "restrict"))
    for option in (("-W", f"127.0.0.1:{peer.port}"), ("-R", "0:127.0.0.1:9", "-o", "ExitOnForwardFailure=yes")):
        done = openssh.ssh(peer, *(() if option[0] == "-W" else ("true",)), options=option)
        assert done.returncode == 255 and not done.stdout


def test_the_environment_of_a_key_needs_permission(start_fastsshd: Start, keys: Keys, tmp_path: Path) -> None:
    line = key_lines(keys, 'environment="GOOD=1",environment="BAD=2"')
    for permit, expected in (("no", b",\n"), ("yes", b"1,2\n"), ("GOO*", b"1,\n")):
        peer = with_keys(start_fastsshd, tmp_path, line, PermitUserEnvironment=permit)
        assert openssh.ssh(peer, "echo $GOOD,$BAD").stdout == expected


def test_strict_modes_refuse_a_file_that_others_can_write(start_fastsshd: Start, keys: Keys, tmp_path: Path) -> None:
    peer = with_keys(start_fastsshd, tmp_path, keys.authorized.read_text(), StrictModes="yes")
    (tmp_path / "authorized_keys").chmod(0o622)
    assert refused(peer)
    logged(peer, "bad ownership or modes: .*authorized_keys is writable by others")


def test_row24_a_key_file_that_is_none_is_not_waited_for(start_fastsshd: Start, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert refused(start_fastsshd(AuthorizedKeysFile=tmp_path / "fifo"))
    assert refused(start_fastsshd(AuthorizedKeysFile="/dev/zero"))


def test_keys_of_a_home_are_found_by_their_tokens(start_fastsshd: Start, tmp_path: Path) -> None:
    home = tmp_path / "home"
    peer = start_fastsshd(home=home, AuthorizedKeysFile="%h/.ssh/none .ssh/keys-of-%u-%U%%")
    assert refused(peer)
    (home / ".ssh/authorized_keys").rename(home / f".ssh/keys-of-{peer.user}-{os.getuid()}%")
    assert openssh.ssh(peer, "pwd").stdout.decode() == f"{home}\n"


def test_a_command_of_roots_tells_the_keys(start_fastsshd: Start, keys: Keys, tmp_path: Path) -> None:
    named = tmp_path / peers.user_name()
    named.write_text(keys.authorized.read_text())
    config = {"AuthorizedKeysFile": "none", "AuthorizedKeysCommandUser": peers.user_name()}
    peer = start_fastsshd(**config, AuthorizedKeysCommand=f"/bin/cat {tmp_path}/%u")
    assert openssh.ssh(peer, "true").returncode == 0
    failing = start_fastsshd(**config, AuthorizedKeysCommand="/bin/cat /nowhere/%u")
    assert refused(failing)
    logged(failing, "AuthorizedKeysCommand /bin/cat: it failed with status 1")


def test_row20_a_keys_command_that_others_can_write_is_not_run(start_fastsshd: Start, tmp_path: Path) -> None:
    command = tmp_path / "command"
    command.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    command.chmod(0o777)
    peer = start_fastsshd(AuthorizedKeysFile="none", AuthorizedKeysCommandUser=peers.user_name(),
                          AuthorizedKeysCommand=f"{command} %u")
    assert refused(peer)
    assert not (tmp_path / "ran").exists()
    logged(peer, "AuthorizedKeysCommand .*command: bad ownership or modes: ")


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "$(touch ran)", "a b", "-x", "root\nAccepted", "x" * 3000, "\u202e"]
)
async def test_row20_names_of_users_reach_no_path_no_shell_and_no_terminal(
    start_fastsshd: Start, keys: Keys, tmp_path: Path, name: str
) -> None:
    peer = start_fastsshd(AuthorizedKeysFile=f"{keys.directory}/%u/../authorized_keys")
    with pytest.raises(AuthenticationError):
        async with connect(ClientOptions(host=peer.host, **(peer.connect_options() | {"user": name}))):
            pass
    logged(peer, "Invalid user ")
    text = peer.log.read_text()
    assert "\nAccepted" not in text and text.replace("\n", "").isprintable()
    assert max(map(len, text.splitlines())) < 1100


# --- who ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("config", "admitted", "reason"), [
    ({"AllowUsers": "nobody-else"}, False, "not listed in AllowUsers"),
    ({"AllowUsers": "{user}@127.0.0.0/8"}, True, ""),
    ({"AllowUsers": "{user}@192.0.2.1"}, False, "not listed in AllowUsers"),
    ({"DenyUsers": "{user}@127.0.0.1"}, False, "listed in DenyUsers"),
    ({"DenyUsers": "other {user}@10.0.0.0/8"}, True, ""),
    ({"AllowGroups": "no-such-group"}, False, "none of user's groups are listed in AllowGroups"),
    ({"AllowGroups": "{group}"}, True, ""),
    ({"DenyGroups": "{group}"}, False, "a group is listed in DenyGroups"),
])  # fmt: skip
def test_lists_of_users_and_groups_decide(
    start_fastsshd: Start, config: dict[str, str], admitted: bool, reason: str
) -> None:
    names = {"user": peers.user_name(), "group": grp.getgrgid(os.getgid()).gr_name}
    peer = start_fastsshd(**{name: value.format(**names) for name, value in config.items()})
    if admitted:
        assert openssh.ssh(peer, "true").returncode == 0
    else:
        assert refused(peer)
        logged(peer, f"User {peer.user} from 127.0.0.1 not allowed because {reason}")


def test_an_unknown_user_gets_the_answers_of_a_known_one(start_fastsshd: Start, tmp_path: Path) -> None:
    peer = start_fastsshd()
    stranger = replace(peer, user="nobody-of-that-name")
    known = replace(peer, key=peer.keys.host("ed25519"))  # a key that authorises nobody
    said = [openssh.ssh(who, "true").stderr.replace(who.user.encode(), b"USER") for who in (stranger, known)]
    assert said[0] == said[1] and b"Permission denied (publickey)." in said[0]
    logged(peer, r"Invalid user nobody-of-that-name from 127\.0\.0\.1 port \d+\n")
    logged(peer, r"Connection closed by invalid user nobody-of-that-name 127\.0\.0\.1 port \d+ \[preauth\]")


def test_row23_too_many_failures_end_the_connection(start_fastsshd: Start) -> None:
    peer = start_fastsshd(MaxAuthTries=2)
    strangers = [part for kind in ("rsa", "ecdsa", "ed25519") for part in ("-i", str(peer.keys.host(kind)))]
    done = openssh.ssh(replace(peer, key=peer.keys.host("rsa")), "true", options=tuple(strangers))
    assert done.returncode == 255 and b"Too many authentication failures" in done.stderr
    logged(peer, f"error: maximum authentication attempts exceeded for {peer.user} from 127.0.0.1 port ")


@pytest.mark.parametrize("algorithm", ["ssh-rsa", "ssh-dss"])
def test_row27_old_algorithms_are_not_spoken(start_fastsshd: Start, algorithm: str, tmp_path: Path) -> None:
    peer = start_fastsshd()
    for option in (f"HostKeyAlgorithms={algorithm}", "Ciphers=aes128-cbc", "KexAlgorithms=diffie-hellman-group1-sha1"):
        done = openssh.ssh(peer, "true", options=("-o", option, "-o", "LogLevel=INFO"))
        assert done.returncode == 255 and b"no matching" in done.stderr
    logged(peer, r"Unable to negotiate with 127\.0\.0\.1 port \d+: no matching host key type found\. Their offer: ")
    logged(peer, r"no matching cipher found\. Their offer: aes128-cbc \[preauth\]")
    done = openssh.ssh(
        replace(peer, key=peer.keys.user("rsa")), "true", options=("-o", f"PubkeyAcceptedAlgorithms={algorithm}")
    )
    assert done.returncode == 255


# --- several methods, passwords ---------------------------------------------------------------------------------------


@pytest.fixture
def users(tmp_path: Path, keys: Keys) -> Path:
    """A users file: ann may write, bob may read, cat has only a key."""
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    lines = []
    for name, secret, access, more in (
        ("ann", hashed, "rw", ""), ("bob", hashed, "ro", ""), ("cat", "*", "rw", f":{keys.authorized}"),
    ):  # fmt: skip
        root = tmp_path / "roots" / name
        root.mkdir(parents=True)
        if ROOT:
            os.chown(root, NOBODY, NOBODY)
        lines.append(f"{name}:{secret}:{root}:{access}{more}\n")
    path = tmp_path / "users"
    path.write_text("# users\n\n" + "".join(lines))
    path.chmod(0o600)
    return path


def test_users_of_a_file_have_sftp_below_their_root(
    start_fastsshd: Start, users: Path, tmp_path: Path
) -> None:
    peer = start_fastsshd(UsersFile=users)
    ann, source = replace(peer, user="ann"), tmp_path / "source"
    source.write_text("hello")
    done = openssh.sftp(ann, f"put {source} /put\nget /../../put {tmp_path / 'back'}\nls -l /\n", password=PASSWORD)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "roots/ann/put").read_text() == (tmp_path / "back").read_text() == "hello"
    assert (tmp_path / "roots/ann/put").stat().st_uid == (NOBODY if ROOT else os.getuid())
    assert openssh.sftp(ann, f"get {source} {tmp_path / 'stolen'}\n", password=PASSWORD).returncode == 1
    assert openssh.ssh(ann, "echo no", password=PASSWORD).stdout == b""
    assert refused(ann, password="wrong horse")
    logged(peer, r"Failed password for ann from 127\.0\.0\.1 port \d+ ssh2\n")
    logged(peer, r"Accepted password for ann from 127\.0\.0\.1 port \d+ ssh2\n")


def test_row21_a_read_only_user_of_a_file_changes_nothing(start_fastsshd: Start, users: Path, tmp_path: Path) -> None:
    peer = replace(start_fastsshd(UsersFile=users), user="bob")
    (tmp_path / "roots/bob/file").write_text("hello")
    (tmp_path / "roots/bob/file").chmod(0o644)
    assert openssh.sftp(peer, f"get /file {tmp_path / 'got'}\n", password=PASSWORD).returncode == 0
    assert openssh.sftp(peer, f"put {tmp_path / 'got'} /new\n", password=PASSWORD).returncode == 1
    assert openssh.sftp(peer, "rm /file\n", password=PASSWORD).returncode == 1
    assert os.listdir(tmp_path / "roots/bob") == ["file"]


def test_a_user_of_a_file_may_have_keys_and_no_password(start_fastsshd: Start, users: Path, tmp_path: Path) -> None:
    peer = start_fastsshd(UsersFile=users)
    assert openssh.sftp(replace(peer, user="cat"), "mkdir /made\n").returncode == 0
    assert (tmp_path / "roots/cat/made").is_dir()
    assert refused(replace(peer, user="cat"), password="")
    assert refused(replace(peer, user="ann"))  # has no keys
    assert refused(replace(peer, user=peers.user_name()), password=PASSWORD)  # no user of the file


def test_row04_what_is_forced_upon_a_key_binds_users_of_a_file_as_well(
    start_fastsshd: Start, users: Path, tmp_path: Path, keys: Keys
) -> None:
    lines = tmp_path / "keys"
    text = users.read_text().splitlines()
    users.write_text("\n".join([*text[:-1], ":".join([*text[-1].split(":")[:4], str(lines)])]) + "\n")
    peer = replace(start_fastsshd(UsersFile=users), user="cat")
    (tmp_path / "roots/cat/file").write_text("hello")
    (tmp_path / "roots/cat/file").chmod(0o644)
    get, put = f"get /file {tmp_path / 'got'}\n", f"put {users} /new\n"
    for forced, may_get in (("internal-sftp -R", True), ("/bin/true", False)):
        lines.write_text(f'command="{forced}" {keys.user("ed25519").with_suffix(".pub").read_text()}')
        lines.chmod(0o600)
        assert (openssh.sftp(peer, get).returncode == 0) == may_get
        assert openssh.sftp(peer, put).returncode != 0
        done = openssh.ssh(peer, "scp -t /new", stdin=b"C0644 1 new\nx\0")
        assert os.listdir(tmp_path / "roots/cat") == ["file"], done


def test_an_unknown_user_costs_as_much_work_as_a_wrong_password(
    start_fastsshd: Start, users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same hash function, as often and of the same cost, whoever asks."""
    known = load_users(str(users))
    work: list[bytes] = []
    checkpw = bcrypt.checkpw
    monkeypatch.setattr(bcrypt, "checkpw", lambda given, hashed: work.append(hashed[:7]) or checkpw(given, hashed))
    for user in (known.find("ann"), known.find("nobody-of-that-name")):
        assert not HashedPasswords(known).check(user, "wrong horse")
    assert len(work) == 2 and work[0] == work[1]
    peer = start_fastsshd(UsersFile=users)
    for name in ("ann", "nobody-of-that-name"):
        assert refused(replace(peer, user=name), password="wrong horse")
    logged(peer, r"Failed password for invalid user nobody-of-that-name from 127\.0\.0\.1 port \d+ ssh2\n")


def test_row03_all_methods_of_a_list_must_be_passed(start_fastsshd: Start, users: Path, tmp_path: Path) -> None:
    users.write_text(re.sub(r"cat:\*", "cat:" + users.read_text().splitlines()[2].split(":")[1], users.read_text()))
    peer = start_fastsshd(UsersFile=users, AuthenticationMethods="publickey,password")
    cat = replace(peer, user="cat")
    assert refused(cat)  # the key alone
    assert refused(cat, password=PASSWORD)  # the password alone
    logged(peer, r"Partial publickey for cat from 127\.0\.0\.1 port \d+ ssh2: ED25519 SHA256:")
    done = openssh.sftp(cat, "mkdir /made\n", password=None)
    assert done.returncode == 255 and b"Permission denied (password)." in done.stderr


async def test_row03_a_key_and_a_password_of_the_same_user_are_both_needed(
    start_fastsshd: Start, users: Path, tmp_path: Path
) -> None:
    users.write_text(re.sub(r"cat:\*", "cat:" + users.read_text().splitlines()[2].split(":")[1], users.read_text()))
    peer = start_fastsshd(UsersFile=users, AuthenticationMethods="publickey,password")
    login = peer.connect_options() | {"user": "cat", "password": PASSWORD}
    async with connect(peer.host, **login) as connection, await connection.sftp() as sftp:
        await sftp.mkdir("/made")
    assert (tmp_path / "roots/cat/made").is_dir()


def test_methods_may_be_left_to_match_blocks(start_fastsshd: Start) -> None:
    peer = start_fastsshd(PubkeyAuthentication="no", lines=["Match Address 127.0.0.1", "PubkeyAuthentication yes"])
    assert openssh.ssh(peer, "echo in").stdout == b"in\n"
    peer = start_fastsshd(PubkeyAuthentication="no", lines=["Match Address 192.0.2.1", "PubkeyAuthentication yes"])
    assert refused(peer)


def test_row04_passwords_are_bound_by_the_servers_restrictions(
    start_fastsshd: Start, users: Path, tmp_path: Path
) -> None:
    peer = start_fastsshd(UsersFile=users, lines=["Match User ann", "PasswordAuthentication no"])
    assert refused(replace(peer, user="ann"), password=PASSWORD)
    assert openssh.sftp(replace(peer, user="bob"), "ls /\n", password=PASSWORD).returncode == 0


def test_a_style_behind_the_name_is_no_part_of_it(start_fastsshd: Start) -> None:
    peer = start_fastsshd()
    assert openssh.ssh(replace(peer, user=f"{peer.user}:style"), "true").returncode == 0
