"""What ssh-keygen does and fastssh-keygen does not: a line each."""

from __future__ import annotations

from fastssh.cli.keygen.arguments import Arguments
from fastssh.cli.keygen.console import Console, Fatal


def pkcs11(asked: Arguments, console: Console) -> int:
    raise Fatal("-D: keys in PKCS#11 tokens are not supported")


def download(asked: Arguments, console: Console) -> int:
    raise Fatal("-K: resident keys are not supported: ssh-keygen downloads them")


def moduli(asked: Arguments, console: Console) -> int:
    raise Fatal("-M: groups for Diffie-Hellman are not made or screened here: ssh-keygen does it")
