"""What is logged on the way in: line by line in ssh's words, since scripts read them."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from typing import Any

import pytest

import fastssh
from fastssh.aio.options import ClientOptions
from fastssh.cli.connecting import Log
from fastssh.cli.messages import Messages
from fastssh.config.evaluate import load
from tests.support import openssh
from tests.support.peers import Peer
from tests.support.reaching import SECONDS, to

# What ssh says on its way that we do not do or that is its own affair.
OTHERS = re.compile(
    r"OpenSSH_|debug1: (Reading configuration|compat_banner|ssh_packet_|pledge|channel |Requesting no-more|Entering|"
    r"client_input|Remote: |Sending command|Local version string|rekey (in|out) after 134217728)|Transferred|Bytes per|"
    r"debug1: Exit status|debug1: SSH2_MSG_KEX_ECDH_INIT sent|debug1: Server accepts key"
)
# Files are read while keys are exchanged, and keys chosen when the server has said what it takes.
ELSEWHERE = re.compile(r"debug1: (identity file|Will attempt key|Authenticating to|SSH2_MSG_SERVICE|expecting)")

ALGORITHMS = {
    "KexAlgorithms": "curve25519-sha256", "Ciphers": "aes128-ctr", "MACs": "hmac-sha2-256",
    "HostKeyAlgorithms": "ssh-ed25519",
}


def lines_of_ssh(peer: Peer, **settings: str) -> list[str]:
    options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
    done = openssh.run("ssh", peer, peer.host, "true", options=("-v", *options, "-o", "LogLevel=DEBUG1"))
    assert done.returncode == 0, done.stderr
    return [line.rstrip("\r") for line in done.stderr.decode().split("\n") if line and not OTHERS.match(line)]


async def lines_of_ours(peer: Peer, **options: Any) -> list[str]:
    lines: list[str] = []
    settings = to(peer) | {
        "log": lambda level, text: lines.append(f"debug{level}: {text}" if level else text),
        "verbose": lines.append,
    } | options
    async with asyncio.timeout(SECONDS), fastssh.connect(**settings) as conn:
        assert (await conn.run("true")).exit_status == 0
    return [line for line in lines if not OTHERS.match(line)]


@pytest.mark.parametrize("kex", ["curve25519-sha256", "diffie-hellman-group-exchange-sha256", "ecdh-sha2-nistp256",
                                 "diffie-hellman-group14-sha256"])
async def test_the_way_in_is_told_in_sshs_words(sshd: Peer, kex: str) -> None:
    theirs = lines_of_ssh(sshd, **(ALGORITHMS | {"KexAlgorithms": kex}))
    ours = await lines_of_ours(
        sshd, kex=(kex,), ciphers=("aes128-ctr",), macs=("hmac-sha2-256",), host_key_algorithms=("ssh-ed25519",)
    )

    def told(lines: list[str], elsewhere: bool) -> list[str]:
        chosen = [line for line in lines if bool(ELSEWHERE.match(line)) is elsewhere]
        bits = [re.sub(r"debug\d: bits set: \d+/", "bits set: ", line) for line in chosen]
        return [line for line in bits if not line.startswith("bits set") and "_INIT sent" not in line]

    assert told(ours, False) == told(theirs, False)
    missing = set(told(theirs, True)) - set(told(ours, True))
    assert not missing


async def test_a_changed_limit_of_keys_is_told_in_blocks(sshd: Peer) -> None:
    theirs = lines_of_ssh(sshd, **ALGORITHMS, RekeyLimit="1M")
    ours = await lines_of_ours(
        sshd, ciphers=("aes128-ctr",), macs=("hmac-sha2-256",), rekey_bytes=1 << 20,
    )
    said = ["debug1: rekey out after 65536 blocks", "debug1: rekey in after 65536 blocks"]
    assert [line for line in theirs if "rekey" in line] == said == [line for line in ours if "rekey" in line]


def test_what_was_accepted_is_shown_from_verbose_on(capsys: pytest.CaptureFixture[str]) -> None:
    for level, shown in (("QUIET", False), ("ERROR", False), ("INFO", False), ("VERBOSE", True), ("DEBUG1", True)):
        log = Log.of(load("h", file="none", overrides=[f"LogLevel={level}"]), Messages("x"))
        log.verbose("Authenticated")
        assert capsys.readouterr().err == ("Authenticated\n" if shown else "")
    heard: list[tuple[int, str]] = []
    ClientOptions(host="h", log=lambda *each: heard.append(each)).tell("to the log")
    assert heard == [(1, "to the log")]


def test_packets_that_cannot_be_are_told_of_in_sshs_words(capsys: pytest.CaptureFixture[str]) -> None:
    from fastssh.cli.ssh.words import tell
    from fastssh.errors import IntegrityError, ProtocolError

    settings = load("h", file="none")
    for error, first in (
        (IntegrityError(), "Corrupted MAC on input."),
        (ProtocolError("packet length out of range"), "Bad packet length."),
        (ProtocolError("packet padding out of range"), "padding error"),
    ):
        tell(error, Messages("x"), settings)
        assert capsys.readouterr().err == f"{first}\nConnection to h port 22: {error}\n"


def test_nothing_heavy_is_loaded_on_the_way_in(sshd: Peer) -> None:
    """What only some connections need is imported by those: start-up is what a user waits for."""
    rare = ("jump", "proxy", "known_hosts_command", "host_update", "agent_forwarding", "interfaces", "forwarding",
            "server", "probe")
    program = (
        "import asyncio, sys, fastssh\n"
        "async def main():\n"
        f"    async with fastssh.connect({sshd.host!r}, port={sshd.port}, user={sshd.user!r}, config='none',"
        f" identity_files=[{str(sshd.key)!r}], user_known_hosts=[{str(sshd.known_hosts)!r}]) as conn:\n"
        "        await conn.run('true')\n"
        "asyncio.run(main())\n"
        f"print([name for name in {rare!r} if f'fastssh.aio.{{name}}' in sys.modules])\n"
        "print([name for name in ('fastssh.keys.revocation', 'fastssh.keys.certificate', 'fastssh.keys.host_update',"
        " 'email', 'http') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60,
                          env={"PATH": os.environ["PATH"], "HOME": str(sshd.directory)})
    assert done.stdout == "[]\n[]\n", done.stderr
