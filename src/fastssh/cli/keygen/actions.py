"""What fastssh-keygen can be asked for, and the function that does each: loaded when it is the one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Final, NamedTuple, cast

from fastssh.cli.keygen.arguments import Arguments
from fastssh.cli.keygen.console import Console, Fatal

Run = Callable[[Arguments, Console], int]


class Action(NamedTuple):
    """``home`` is ``module.function`` in this folder, of the type Run; ``asked`` whether the arguments ask for it."""

    home: str
    asked: Callable[[Arguments], bool]


#: In order: the first that is asked for is done, as in ssh-keygen.
ACTIONS: Final = (
    Action("signatures.run", lambda a: a.signature is not None),
    Action("revoke.make", lambda a: a.make_krl),
    Action("revoke.query", lambda a: a.check_krl),
    Action("certify.run", lambda a: a.ca_key is not None),
    Action("certificates.run", lambda a: a.print_certificate),
    Action("refusals.pkcs11", lambda a: a.pkcs11 is not None),
    Action("refusals.download", lambda a: a.download),
    Action("known_hosts.run", lambda a: a.find_host is not None or a.remove_host is not None or a.hash_hosts),
    Action("show.fingerprints", lambda a: a.print_fingerprint or a.bubblebabble),
    Action("change.passphrase", lambda a: a.change_passphrase),
    Action("change.comment", lambda a: a.change_comment),
    Action("show.public", lambda a: a.print_public),
    Action("records.run", lambda a: a.hostname is not None),
    Action("convert.export", lambda a: a.export),
    Action("convert.import_key", lambda a: a.import_key),
    Action("refusals.moduli", lambda a: a.moduli is not None),
    Action("host_keys.run", lambda a: a.host_keys),
    Action("generate.run", lambda a: True),
)


def function_of(action: Action) -> Run:
    module, _, name = action.home.partition(".")
    return cast(Run, getattr(importlib.import_module(f"fastssh.cli.keygen.{module}"), name))


def perform(asked: Arguments, console: Console) -> int:
    """Does what is asked for; the exit status. Raises Fatal, SSHError, OSError."""
    action = next(action for action in ACTIONS if action.asked(asked))
    try:
        return function_of(action)(asked, console)
    except Fatal as fatal:
        if fatal.text:
            console.tell(fatal.text)
        return fatal.status
