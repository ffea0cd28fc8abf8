"""Records packets sealed by a stock sshd, with their keys: ``python tests/reference/record_openssh.py > FILE``.

asyncssh is the client; it derived the keys, so it can tell them. The packets are the first that the server sends under
its first keys: EXT_INFO, SERVICE_ACCEPT, USERAUTH_FAILURE. Connection, server and keys are throwaway.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import asyncssh
import asyncssh.connection

AEAD = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com")
CTR = ("aes128-ctr", "aes192-ctr", "aes256-ctr")
MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")
PACKETS = 3


class Recorder:
    """Stands in for asyncssh's packet decryption and writes down what passes through."""

    def __init__(self, real: Any, suite: dict[str, Any]) -> None:
        self.real, self.suite, self.raw = real, suite, b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def decrypt_header(self, seq: int, first: bytes, header_len: int) -> Any:
        self.raw = first
        return self.real.decrypt_header(seq, first, header_len)

    def decrypt_packet(self, seq: int, first: bytes, rest: bytes, header_len: int, mac: bytes) -> Any:
        clear = self.real.decrypt_packet(seq, first, rest, header_len, mac)
        self.suite.setdefault("sequence", seq)
        packet = {"wire": (self.raw + rest + mac).hex(), "payload": clear[1 : -clear[0]].hex()}
        if len(self.suite["packets"]) < PACKETS:
            self.suite["packets"].append(packet)
        return clear


async def record(sshd: str, directory: Path, cipher: str, mac: str) -> dict[str, Any]:
    """One connection with this cipher and MAC, until authentication has failed."""
    made: list[Recorder] = []
    real_get = asyncssh.connection.get_encryption

    def get_encryption(alg: bytes, key: bytes, iv: bytes, mac_alg: bytes, mac_key: bytes, etm: bool) -> Recorder:
        suite: dict[str, Any] = {"cipher": cipher, "mac": mac, "packets": []}
        suite.update({"key": key.hex(), "iv": iv.hex(), "mac_key": mac_key.hex()})
        made.append(Recorder(real_get(alg, key, iv, mac_alg, mac_key, etm), suite))
        return made[-1]

    ours, theirs = socket.socketpair()
    streams = theirs.fileno()
    command = [sshd, "-i", "-f", "/dev/null", "-h", str(directory / "host_key"), "-o", "UsePAM=no"]
    server = subprocess.Popen(command, stdin=streams, stdout=streams, stderr=subprocess.DEVNULL)
    theirs.close()
    asyncssh.connection.get_encryption = get_encryption
    try:
        await asyncssh.connect(
            "127.0.0.1", sock=ours, username="nobody", known_hosts=None, client_keys=None, agent_path=None,
            config=None, password="wrong", encryption_algs=[cipher], mac_algs=[mac or MACS[0]],
        )
    except asyncssh.Error:
        pass  # nobody may log in: everything wanted has passed by then
    finally:
        asyncssh.connection.get_encryption = real_get
        server.wait(timeout=20)
    return made[1].suite  # asyncssh makes client to server first


def main() -> None:
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")
    if sshd is None:
        sys.exit("sshd is missing")
    version = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr.split(",")[0].strip()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / "host_key")], check=True)
        pairs = [(cipher, "") for cipher in AEAD] + [(cipher, mac) for cipher in CTR for mac in MACS]
        suites = [asyncio.run(record(sshd, directory, cipher, mac)) for cipher, mac in pairs]
    json.dump({"source": f"sealed by sshd of {version}", "suites": suites}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
