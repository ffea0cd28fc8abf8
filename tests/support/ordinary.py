"""fastsshd as an ordinary user: root's tests become nobody, after all was imported that a folder of root's may hide."""

from __future__ import annotations

import os

import fastssh.cli.sshd.command
import fastssh.daemon.inetd
import fastssh.daemon.parent
from fastssh.config.server.evaluate import load
from fastssh.daemon.login.accounts import SystemAccounts
from fastssh.daemon.prepare import Prepared
from fastssh.daemon.rehearsal import rehearse
from fastssh.keys.private import generate_private_key

NOBODY = 65534

if __name__ == "__main__":
    if os.getuid() == 0:  # what a login loads when it comes to it
        rehearse(Prepared(load(None), (generate_private_key("ed25519"),), SystemAccounts(), None))
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    fastssh.cli.sshd.command.run()
