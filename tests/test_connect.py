"""fastssh.connect: a host as the user calls it, ssh_config, and what a program says itself."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fastssh
from fastssh.aio.options import ClientOptions
from fastssh.errors import ConfigError, HostKeyUnknownError
from tests.support.peers import Peer, clean_environment

HOST_LINES = """
Host alias
  HostName {host}
  Port {port}
  User {user}
  IdentityFile {key}
  IdentitiesOnly yes
  UserKnownHostsFile {known_hosts}
  GlobalKnownHostsFile none
"""


def configuration(peer: Peer, text: str = HOST_LINES) -> str:
    return text.format(host=peer.host, port=peer.port, user=peer.user, key=peer.key, known_hosts=peer.known_hosts)


@pytest.fixture
def user_file(home: Path) -> Any:
    """Writes the user's own file, for one test."""
    path = home / ".ssh" / "config"

    def write(text: str) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    yield write
    path.unlink(missing_ok=True)


def evaluated(*arguments: Any, **options: Any) -> ClientOptions:
    return fastssh.connect(*arguments, **options)._evaluate()


async def test_an_alias_of_the_users_file_is_enough(sshd: Peer, user_file: Any) -> None:
    user_file(configuration(sshd))
    async with fastssh.connect("alias") as conn:
        assert (await conn.run("echo there", check=True)).stdout == b"there\n"


async def test_another_file_may_be_named_or_none(sshd: Peer, user_file: Any, tmp_path: Path) -> None:
    user_file("Port 1\n")
    path = tmp_path / "config"
    path.write_text(configuration(sshd))
    async with fastssh.connect("alias", config=path) as conn:
        assert conn.options.port == sshd.port
    for none in (False, "none"):
        assert evaluated("alias", config=none).port == 22
    with pytest.raises(ConfigError, match="No such file"):
        await fastssh.connect("alias", config=tmp_path / "missing")


def test_what_a_program_says_wins(user_file: Any) -> None:
    user_file(
        "Match user bob\n IdentityFile /bobs\nHost *\n Port 1\n User ann\n BatchMode yes\n"
        "StrictHostKeyChecking accept-new\nServerAliveInterval 7\n"
    )
    found = evaluated("h", 5, user="bob", strict_host_key_checking="yes", server_alive_interval=1.5)
    assert (found.port, found.user, found.identity_files) == (5, "bob", ("/bobs",))
    assert (found.strict_host_key_checking, found.server_alive_interval) == ("yes", 1.5)
    assert evaluated("h").server_alive_interval == 7


def test_the_way_of_the_files_is_left_for_the_one_asked_for(user_file: Any) -> None:
    user_file("Host far\n ProxyJump none\nHost h\n ProxyJump far\n")
    found = evaluated("h", user="u")
    assert found.proxy_jump is not None and found.proxy_jump.host == "far"
    assert evaluated("h", proxy_jump=None).proxy_jump is None
    assert evaluated("h", proxy_command="nc").proxy_command == "nc"
    jump = evaluated("h", proxy_jump="me@near:7").proxy_jump
    assert jump is not None and (jump.user, jump.host, jump.port) == ("me", "near", 7)
    own = ClientOptions(host="own")
    assert evaluated("h", proxy_jump=own).proxy_jump is own


def test_a_prompter_is_asked_although_the_files_say_batch_mode(user_file: Any) -> None:
    user_file("BatchMode yes\n")
    assert evaluated("h").checking == "yes"
    person: Any = object()
    assert (evaluated("h", prompter=person).prompter, evaluated("h", prompter=person).checking) == (person, "ask")


async def test_nobody_is_asked_and_unknown_hosts_are_refused(sshd: Peer, user_file: Any, tmp_path: Path) -> None:
    user_file(configuration(sshd, HOST_LINES.replace("{known_hosts}", str(tmp_path / "none"))))
    with pytest.raises(HostKeyUnknownError):
        await fastssh.connect("alias")


async def test_errors_of_the_files_name_file_and_line(user_file: Any, home: Path) -> None:
    user_file("Port 1\nNonsense yes\n")
    with pytest.raises(ConfigError, match=rf"{home}/.ssh/config:2: "):
        await fastssh.connect("alias")


async def test_whole_options_are_taken_as_they_are(sshd: Peer, user_file: Any) -> None:
    user_file("Port 1\nUser nobody\nProxyCommand false\n")
    async with fastssh.connect(ClientOptions(host=sshd.host, **sshd.connect_options())) as conn:
        assert (await conn.run("echo x", check=True)).stdout == b"x\n"


@pytest.mark.parametrize(("arguments", "options", "reason"), [
    ((5,), {}, "host is text"),
    (("h", "22"), {}, "port is to be int, not str"),
    (("h", True), {}, "port is to be int, not bool"),
    (("h",), {"config": 5}, "config is a path"),
    (("h",), {"config": True}, "config is a path"),
    (("h",), {"nonsense": 1}, "no option 'nonsense'"),
    (("h",), {"host": "x"}, "multiple values"),
    (("h",), {"identity_files": "~/.ssh/id"}, "identity_files is to be .*, not str"),
    (("h",), {"password": b"secret"}, r"^password is to be str \| None, not bytes$"),
    (("h",), {"tcp_keepalive": "no"}, "tcp_keepalive is to be bool"),
    (("h",), {"connect_timeout": "5"}, "connect_timeout is to be float"),
    (("h",), {"proxy_jump": 5}, "proxy_jump is to be ClientOptions or None"),
    ((ClientOptions(host="h"),), {"port": 5}, "both as an object and by keyword"),
    ((ClientOptions(host="h"),), {"config": "none"}, "both as an object and by keyword"),
])
def test_what_is_no_option_raises_at_once(arguments: Any, options: Any, reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        fastssh.connect(*arguments, **options)


@pytest.mark.parametrize("options", [{"port": 0}, {"strict_host_key_checking": "maybe"}])
def test_values_out_of_range_raise_at_once(options: Any) -> None:
    with pytest.raises(ConfigError):
        fastssh.connect("h", **options)


def test_the_door_costs_nothing_until_it_is_used(tmp_path: Path) -> None:
    heavy = ("asyncio", "cryptography", "fastssh.config", "fastssh.aio", "subprocess", "getpass")
    program = f"import sys, fastssh\nprint([name for name in {heavy!r} if name in sys.modules])\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          env=clean_environment(tmp_path), timeout=60)
    assert done.stdout == "[]\n", done.stderr


async def test_a_cancelled_evaluation_leaves_no_socket(sshd: Peer) -> None:
    import socket

    ours, theirs = socket.socketpair()
    with theirs:
        task = asyncio.ensure_future(fastssh.connect("h", sock=ours)._connect())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ours.fileno() == -1
