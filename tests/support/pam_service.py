"""A PAM configuration of a test's own, for fastsshd with pam_fastsshd.py."""

from __future__ import annotations

from pathlib import Path

from fastssh.daemon.login import pam
from fastssh.daemon.login.passwords import NOBODY
from tests.support.peers import PASSWORD


def service(directory: Path) -> Path:
    """A PAM configuration: PASSWORD is right, unless the account is closed."""
    directory.mkdir()
    check, account = directory / "check", directory / "account"
    check.write_text(
        f'#!/bin/sh\nread -r given\necho "$PAM_USER $PAM_RHOST $PAM_TTY" >> {directory}/seen\n'
        f'[ "$PAM_USER" != "{NOBODY}" ] && [ "$given" = "{PASSWORD}" ]\n'
    )
    account.write_text(f"#!/bin/sh\n[ ! -e {directory}/closed ]\n")
    for script in (check, account):
        script.chmod(0o755)
    (directory / pam.SERVICE).write_text(
        f"auth optional pam_echo.so Speak, friend.\nauth required pam_exec.so expose_authtok quiet {check}\n"
        f"account required pam_exec.so quiet {account}\n"
    )
    return directory
