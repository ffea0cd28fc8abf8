"""What a user gets after the login: rights dropped for good, then sessions within what configuration and key permit."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fastssh.aio.server.process import PATH, ROOT_PATH, ProcessStarter
from fastssh.aio.server.program import Launch, Program, RequestHook, SessionPolicy, Starter
from fastssh.aio.server.session import ServerSession
from fastssh.config.server.settings import ServerSettings
from fastssh.config.tokens import expand
from fastssh.daemon import internal_sftp
from fastssh.daemon.descriptors import raise_limit
from fastssh.daemon.internal_sftp import InternalSFTP, SFTPStarter
from fastssh.daemon.log import Log
from fastssh.daemon.login.accounts import User
from fastssh.daemon.login.user_tokens import user_tokens
from fastssh.daemon.privileges import PrivilegeError, become
from fastssh.errors import SSHError
from fastssh.keys.key_options import KeyOptions
from fastssh.keys.patterns import match_pattern_list
from fastssh.sftp.rooted import RootedFileSystem

if TYPE_CHECKING:
    from fastssh.aio.server.connection import ServerConnection

_SCP: Final = re.compile(r"scp(?= (?:-[a-z]+ )*-[tf] )")  # as clients ask for it


def take_over(user: User, settings: ServerSettings) -> int:
    """This process becomes the user's, and may open more files than before: gives the limit that its programs are to
    have, as :class:`ProcessStarter` takes it. Raises SSHError, after which it must end."""
    if user.root is not None:
        _take_over_rooted(user, user.root)
    else:
        root = settings.chroot_directory
        become(user, None if root is None else expand(root, user_tokens(user)))
    return raise_limit()


def _take_over_rooted(user: User, root: str) -> None:
    """A user of a users file: the root becomes the working directory, and its owner whom the process runs as.

    So nothing above the root has to be open to that owner, and no account has to exist for each user.
    """
    try:
        os.chdir(root)
        status = os.stat(".")
    except OSError as error:
        raise PrivilegeError(f"the root of user {user.name}, {root!r}: {error.strerror}") from None
    if os.geteuid() != 0:
        return
    if status.st_uid == 0:
        raise PrivilegeError(f"the root of user {user.name}, {root!r}, belongs to root: files are served as its owner")
    become(replace(user, uid=status.st_uid, gid=status.st_gid, groups=(status.st_gid,)), None)


def _told(session: ServerSession, launch: Launch) -> str:
    """What runs, in sshd's words, which other tools look for; but for the terminal's name."""
    if launch.forced:
        kind = "forced-command"
    elif launch.subsystem is not None:
        kind = f"subsystem '{launch.subsystem}'"
    else:
        kind = "shell" if launch.command is None else "command"
    connection = session.connection
    return f"Starting session: {kind} for {connection.user} from {connection.where} id {session.channel.id}"


def sessions(
    user: User, settings: ServerSettings, options: KeyOptions, hooks: Mapping[str, RequestHook],
    set_class: Callable[[int], None], files: int, log: Log,
) -> Callable[[ServerConnection], ServerSession]:  # fmt: skip
    """For ServerOptions.session. ``options`` are the key's, the default ones after a password; ``hooks`` take requests
    that are not the session's own; ``set_class`` sets the connection's class of service,
    ``files`` is the limit of open files that programs have."""

    def started(session: ServerSession, launch: Launch) -> None:
        log.verbose(_told(session, launch))
        # As sshd: the session that began last says what the connection is for.
        set_class(settings.ip_qos.bulk if launch.terminal is None else settings.ip_qos.interactive)

    starter: Starter
    if user.root is None:
        starter, policy = _with_scp(ProcessStarter(user, files=files)), _policy(user, settings, options, hooks)
    else:
        starter, policy = _rooted_scp(user), _rooted_policy(user, settings, options)
    policy = replace(policy, started=started)
    return lambda connection: ServerSession(connection, policy, starter)


def _nothing(session: ServerSession, launch: Launch) -> Program:
    raise SSHError("only SFTP is offered to this user")


def _rooted_scp(user: User) -> Starter:
    """A user of a users file has no shell: scp's legacy protocol is served as SFTP is, and nothing else."""

    def start(session: ServerSession, launch: Launch) -> Program:
        from fastssh.aio.server.scp import scp_starter

        return scp_starter(lambda session: RootedFileSystem("."), read_only=user.read_only)(session, launch)

    return start


def _with_scp(starter: ProcessStarter) -> Starter:
    """Where the account finds no scp, fastssh's own takes its place on the far side of `scp -O`."""

    def start(session: ServerSession, launch: Launch) -> Program:
        if launch.command is not None and (found := _SCP.match(launch.command)):
            path = ROOT_PATH if starter.account.uid == 0 else PATH
            beside = os.pathsep.join(map(os.path.dirname, (os.path.abspath(sys.argv[0]), sys.executable)))
            ours = shutil.which("fastssh-scp", path=beside)
            if ours is not None and shutil.which("scp", path=path) is None:
                launch = replace(launch, command=shlex.quote(ours) + launch.command[found.end() :])
        return starter(session, launch)

    return start


def _rooted_policy(user: User, settings: ServerSettings, options: KeyOptions) -> SessionPolicy:
    """SFTP and scp; what is forced upon the user is internal-sftp, or else nothing that can be had here."""
    command = settings.force_command if settings.force_command is not None else options.command
    forced = None if command is None else internal_sftp.forced(command)
    return SessionPolicy(
        forced_command=None if command is None else _nothing if forced is None else SFTPStarter(forced, user, home="/"),
        permit_pty=False,
        permit_shell=False,
        subsystems={"sftp": SFTPStarter(InternalSFTP(), user, home="/")},
    )


def _policy(
    user: User, settings: ServerSettings, options: KeyOptions, hooks: Mapping[str, RequestHook]
) -> SessionPolicy:
    forced = settings.force_command if settings.force_command is not None else options.command
    environment = {
        name: value
        for name, value in options.environment
        if match_pattern_list(name, settings.permit_user_environment)
    }
    return SessionPolicy(
        permit_pty=settings.permit_tty and options.permit_pty,
        accept_env=settings.accept_env,
        set_env={**environment, **dict(settings.set_env)},
        forced_command=None if forced is None else _command(user, forced, internal_sftp.forced(forced)),
        subsystems={
            each.name: _command(user, each.command, internal_sftp.read_options(each.arguments))
            for each in settings.subsystems
        },
        requests=hooks,
    )


def _command(user: User, command: str, sftp: InternalSFTP | None) -> str | Starter:
    return command if sftp is None else SFTPStarter(sftp, user, home=user.home)
