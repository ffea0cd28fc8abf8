"""fastsshd with a resolver of the test's: ``dns_fastsshd.py name arguments...``; one named "slow" never answers."""

from __future__ import annotations

import sys
import time

from fastssh.cli.sshd import command as sshd
from fastssh.daemon.login import client_name

if __name__ == "__main__":
    name = sys.argv.pop(1)
    client_name.SECONDS = client_name.SECONDS if name != "slow" else 0.5  # type: ignore[misc]

    def look_up(address: str) -> str:
        if name == "slow":
            time.sleep(3600)
        return name

    client_name.look_up_name = look_up
    sshd.run()
