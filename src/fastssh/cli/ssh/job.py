"""The work of one fastssh call: a connection, what is forwarded over it, and its session."""

from __future__ import annotations

import contextlib
import os
import time
from functools import cache, partial
from typing import TYPE_CHECKING, Final

from fastssh.cli.connecting import Log, begin_early, identity_overrides, log_in
from fastssh.cli.messages import Messages
from fastssh.cli.process import hurry
from fastssh.cli.ssh import words
from fastssh.cli.ssh.arguments import Arguments
from fastssh.cli.ssh.wanted import stdio_place
from fastssh.config.evaluate import load
from fastssh.config.session import local_command, refused_tunnel
from fastssh.errors import ChannelOpenError, ConfigError, SSHError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastssh.aio.client import ClientConnection
    from fastssh.aio.early import EarlyConnection
    from fastssh.cli.mux.own import OwnMaster
    from fastssh.cli.ssh.background import Background
    from fastssh.cli.ssh.forwards import Forwards
    from fastssh.config.forwards import Forward
    from fastssh.config.settings import Settings

_AFTERWARDS: Final = ("fastssh.cli.ssh.forwards", "fastssh.cli.ssh.sessions")  # what is needed after the login


def run(asked: Arguments, messages: Messages) -> int:
    """The exit status."""
    try:
        if asked.log_file is not None:
            from fastssh.cli.ssh.logs import to_file

            messages.elsewhere = to_file(asked.log_file)
        settings = _settings(asked, messages)
        log = Log.of(settings, messages)
        wanted = _forwards(asked, settings)
        if asked.dump:
            return _dump(settings, wanted, messages)
        if asked.command and settings.text("RemoteCommand") is not None and not asked.subsystem:
            raise ConfigError("Cannot execute command-line and remote command.")
    except SSHError as error:
        if not asked.quiet:
            words.tell(error, messages)
        return words.FAILED
    if asked.syslog:
        from fastssh.cli.ssh.logs import to_syslog

        messages.elsewhere = to_syslog(settings.text("SyslogFacility") or "USER")
    status, persists = _share(asked, settings, wanted, messages, log)
    if status is not None:
        return status
    job = Job(asked, settings, wanted, messages, log, persists=persists)
    if not persists and not settings.flag("ForkAfterAuthentication"):
        return job.start(None)
    from fastssh.cli.ssh.background import split

    return split(job.start, partial(_use_own_master, asked, settings, messages, log) if persists else None)


def _share(
    asked: Arguments, settings: Settings, wanted: tuple[Forward, ...], messages: Messages, log: Log
) -> tuple[int | None, bool]:
    """The exit status, if another program's connection does for this call; else None, and whether this call makes a
    master that stays."""
    if asked.control is None and "ControlPath" not in settings:
        return None, False
    from fastssh.cli.mux import passenger

    try:
        status = passenger.share(asked, settings, wanted, messages, log)
        return status, asked.control is None and passenger.makes_one_that_stays(settings)
    except SSHError as error:
        if not asked.quiet:
            words.tell(error, messages)
        return words.FAILED, False


def _use_own_master(asked: Arguments, settings: Settings, messages: Messages, log: Log) -> int:
    """The master that this call made is in the background, and this is its first client."""
    from fastssh.cli.mux import passenger

    try:
        return passenger.use_own(asked, settings, messages, log)
    except (SSHError, OSError) as error:
        if not asked.quiet:
            words.tell(error, messages)
        return words.FAILED


def _settings(asked: Arguments, messages: Messages) -> Settings:
    overrides = asked.overrides + identity_overrides(asked.identities, messages, quiet=asked.quiet)
    without = ("SessionType", "none") in asked.overrides
    kind = "none" if without else "subsystem" if asked.subsystem else "exec" if asked.command else "shell"
    return load(
        asked.host, overrides=overrides, defaults=asked.defaults, file=asked.config_file, session_type=kind,
        command=asked.command,
    )  # fmt: skip


def _forwards(asked: Arguments, settings: Settings) -> tuple[Forward, ...]:
    """What is to be forwarded. Nothing is imported for nothing."""
    given = ("LocalForward", "RemoteForward", "DynamicForward")
    if not asked.forwards and not any(name in settings for name in given):
        return ()
    from fastssh.config.forwards import Kind, forwards

    return forwards(settings, [(Kind(kind), specification) for kind, specification in asked.forwards])


def _dump(settings: Settings, wanted: tuple[Forward, ...], messages: Messages) -> int:
    from fastssh.cli.process import print_text
    from fastssh.config.dump import lines

    return print_text("".join(f"{line}\n" for line in lines(settings, wanted)), messages)


class Job:
    """One call, after its command line and configuration are understood."""

    def __init__(
        self,
        asked: Arguments,
        settings: Settings,
        wanted: tuple[Forward, ...],
        messages: Messages,
        log: Log,
        *,
        persists: bool,
    ) -> None:
        self._persists = persists  # ControlPersist, if there is nobody else's master
        self._asked, self._settings, self._wanted = asked, settings, wanted
        self._messages, self._log = messages, log
        self._background: Background | None = None
        self._early: EarlyConnection | None = None
        self._began = time.monotonic()

    def start(self, background: Background | None) -> int:
        """Does it all; the exit status. ``background`` for one that detaches itself when it is logged in."""
        self._background = background
        if self._asked.control is None:  # else the connection is a master's
            self._early = begin_early(self._settings)
        hurry()  # what is imported from here on takes as long as the server's answer
        from fastssh.cli.supervision import Supervisor

        return Supervisor(self._messages, status=words.FAILED).run(self._run())

    async def _run(self) -> int:
        logged_in = False
        try:
            connection = await self._connect()
            logged_in = True
            async with connection:
                return await self._use(connection)
        except (SSHError, OSError) as error:
            if self._log.level >= 0:
                words.tell(error, self._messages, self._settings, begun=logged_in)
            return words.FAILED

    async def _connect(self) -> ClientConnection:
        file = self._asked.config_file
        if self._asked.control is None:
            return await log_in(
                self._settings, self._messages, self._log, config_file=file, early=self._early, meanwhile=_AFTERWARDS
            )
        from fastssh.aio.mux.proxied import ProxiedConnection
        from fastssh.cli.connecting import options
        from fastssh.cli.mux.passenger import proxied

        found = options(self._settings, self._messages, self._log, config_file=file)
        return ProxiedConnection(found, proxied(self._settings))

    async def _use(self, connection: ClientConnection) -> int:
        if (refused := refused_tunnel(self._settings)) is not None:
            self._warn(refused)
        forwards = cache(lambda: _forwards_of(connection, self._settings))
        if self._wanted:
            strict = self._settings.flag("ExitOnForwardFailure")
            if not await forwards().open_all(self._wanted, self._warn, exit_on_failure=strict) and strict:
                return words.FAILED
        await self._local_command()
        master = self._listen(connection, forwards)
        if master is None:
            return await self._work(connection, forwards)
        async with master:
            if self._persists:
                self._detach()
                return await master.linger()
            endless = self._settings.value("SessionType") == "none" and self._asked.forward_stdio is None
            return await master.until_told(self._work(connection, forwards, shared=True), endless=endless)

    def _listen(self, connection: ClientConnection, forwards: Callable[[], Forwards]) -> OwnMaster | None:
        """Shares the connection, if it is to be."""
        wanted = "ControlPath" in self._settings and self._settings.value("ControlMaster") != "no"
        if not wanted or self._asked.control is not None:
            return None
        from fastssh.cli.mux.own import OwnMaster

        return OwnMaster.make(connection, forwards(), self._settings, self._log)

    async def _work(
        self, connection: ClientConnection, forwards: Callable[[], Forwards], *, shared: bool = False
    ) -> int:
        """What this call wants of the connection for itself."""
        if self._asked.forward_stdio is not None:
            return await self._forward_stdio(connection, self._asked.forward_stdio)
        if self._settings.value("SessionType") == "none":
            self._detach()
            await connection.wait_closed()
            assert connection.error is not None
            raise connection.error
        return await self._session(connection, forwards, shared=shared)

    def _warn(self, text: str) -> None:
        if self._log.level >= 0:
            self._messages.write(text)

    def _detach(self) -> None:
        if self._background is not None:
            self._background.detach(keep_stderr=self._log.level > 0)

    async def _local_command(self) -> None:
        if (command := local_command(self._settings)) is None:
            return
        self._log(3, f"Executing command: '{command}'")
        await run_locally(command)

    # -- what the connection is for --------------------------------------------------------------------------------

    async def _forward_stdio(self, connection: ClientConnection, place: str) -> int:
        """-W: until one side has ended."""
        from fastssh.aio.joined import JoinedChannel
        from fastssh.aio.session import COMMAND_WINDOW
        from fastssh.wire.requests import DirectTcpip

        host, port = stdio_place(place)
        data = DirectTcpip(host.encode("utf-8", "surrogateescape"), port, b"127.0.0.1", 65535).body()
        channel = JoinedChannel(
            connection, "direct-tcpip", data, window=COMMAND_WINDOW, stdin=0, stdout=1, output_ended=_close_output
        )
        try:
            await channel.wait()
        except ChannelOpenError as error:
            self._warn(error.told(channel.channel.id))
            self._warn("stdio forwarding failed")
            return words.FAILED
        return 0

    async def _session(
        self, connection: ClientConnection, forwards: Callable[[], Forwards], *, shared: bool
    ) -> int:
        from fastssh.cli.ssh.sessions import SessionRunner

        runner = SessionRunner(self._asked.command, self._settings, self._messages, self._log)
        session = runner.open(connection)
        if "OpenSSH" in connection.peer_identification and not shared:
            connection.global_request("no-more-sessions@openssh.com")
        self._detach()
        status = await runner.run(session, forwards)
        if connection.error is not None:
            return status
        if not runner.terminated:
            await connection.idle()
        from fastssh.aio.options import LOG_DEBUG1

        plane, seconds = connection.plane, time.monotonic() - self._began
        sent, received = plane.bytes_sent, plane.bytes_received
        self._log.verbose(f"Transferred: sent {sent}, received {received} bytes, in {seconds:.1f} seconds")
        if seconds > 0:
            self._log.verbose(f"Bytes per second: sent {sent / seconds:.1f}, received {received / seconds:.1f}")
        self._log(LOG_DEBUG1, f"Exit status {-1 if session.exit_status is None else status}")
        return status


def _forwards_of(connection: ClientConnection, settings: Settings) -> Forwards:
    from fastssh.cli.ssh.forwards import Forwards  # what most calls have no use for

    return Forwards(connection, settings)


def _close_output() -> None:
    """Whoever reads our output learns that it has ended."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


async def run_locally(command: str) -> None:
    """A command of LocalCommand or ``~C``, with our standard descriptors. How it ends is its own affair."""
    import asyncio

    shell = os.environ.get("SHELL") or "/bin/sh"
    process = await asyncio.create_subprocess_exec(shell, "-c", command)
    try:
        await process.wait()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        raise
