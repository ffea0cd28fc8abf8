"""fastsshd with PAM services from a directory of the test's: ``pam_fastsshd.py directory arguments...``."""

from __future__ import annotations

import sys

from fastssh.cli.sshd import command as sshd
from fastssh.daemon.login import pam

if __name__ == "__main__":
    pam.CONFIGURATION = sys.argv.pop(1)
    sshd.run()
