"""fastsshd: the entry point, and what is done before the first connection."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NoReturn

from fastssh.cli.messages import Messages
from fastssh.cli.process import leave, print_text
from fastssh.cli.sshd import arguments
from fastssh.cli.sshd.arguments import Arguments
from fastssh.cli.tool import run_tool

if TYPE_CHECKING:
    from fastssh.config.server.evaluate import ServerConfig
    from fastssh.daemon.log import Log, Sink
    from fastssh.daemon.prepare import Prepared

PORT: Final = 2222  # of an ordinary user's server without a configuration: 22 is root's


def run() -> NoReturn:
    """The command fastsshd."""
    leave(main())


def main(argv: list[str] | None = None) -> int:
    """Runs fastsshd with ``argv`` (without the program's name); returns its exit status and never raises."""
    return run_tool(arguments.TOOL, _run, argv)


def _run(argv: list[str], messages: Messages) -> int:
    asked = arguments.read(argv)
    own = _runs_on_its_own(asked)
    config = _load(asked, own)
    if asked.action == "print only":
        return _print_settings(asked, config, messages)
    from fastssh.daemon.log import Log, to_descriptor
    from fastssh.daemon.prepare import prepare

    if asked.action in ("test", "print"):
        prepare(config, Log(config.settings.log_level, to_descriptor(2)))
        return _print_settings(asked, config, messages) if asked.action == "print" else 0
    os.umask(os.umask(0o077) | 0o022)  # as sshd: nothing of a session's is open to the world unless it says so
    log = _log(asked, config)
    prepared = _prepare(asked, config, log)
    if asked.inetd:
        from fastssh.daemon.inetd import serve_standard_streams

        return serve_standard_streams(prepared, log)
    return _serve(asked, prepared, log, messages, own=own)


# -- configuration -----------------------------------------------------------------------------------------------------


def _runs_on_its_own(asked: Arguments) -> bool:
    """An ordinary user without a configuration: see TOOL."""
    return asked.config is None and os.geteuid() != 0


def _load(asked: Arguments, own: bool) -> ServerConfig:
    """Reads the configuration; also what SIGHUP does. Raises ConfigError, OSError."""
    from fastssh.config.server.evaluate import SYSTEM_FILE, load

    if not own:
        file = asked.config or (SYSTEM_FILE if os.path.exists(SYSTEM_FILE) else None)
        return load(file, overrides=asked.overrides, ports=asked.ports)
    given = load(None, overrides=asked.overrides, ports=asked.ports).settings.given
    overrides = list(asked.overrides)
    if "host_keys" not in given:
        from fastssh.daemon.host_keys import own_host_key

        overrides.append(("HostKey", os.fspath(own_host_key())))
    if "pid_file" not in given:
        overrides.append(("PidFile", "none"))
    if "subsystems" not in given:
        overrides.append("Subsystem sftp internal-sftp")
    return load(None, overrides=overrides, ports=asked.ports or (() if "ports" in given else (PORT,)))


def _print_settings(asked: Arguments, config: ServerConfig, messages: Messages) -> int:
    """What sshd -T prints: for a connection of which -C tells, or of which nothing is known."""
    from fastssh.config.server.match import ConnectionFacts

    settings = config.for_connection(asked.facts or ConnectionFacts())
    return print_text("".join(f"{line}\n" for line in settings.lines()), messages)


def _prepare(asked: Arguments, config: ServerConfig, log: Log) -> Prepared:
    from fastssh.daemon.prepare import prepare

    return prepare(config, log, log.level if asked.debug or asked.quiet else None)


def _log(asked: Arguments, config: ServerConfig) -> Log:
    from fastssh.config.values import LogLevel
    from fastssh.daemon.log import FileSink, Log, to_descriptor, to_syslog

    sink: Sink
    if asked.log_file is not None:
        sink = FileSink(asked.log_file)
    elif asked.to_stderr:
        sink = to_descriptor(os.dup(2))
    else:
        sink = to_syslog(config.settings.syslog_facility)
    level = config.settings.log_level
    if asked.debug and level in (LogLevel.INFO, LogLevel.VERBOSE):
        level = LogLevel.DEBUG1
    return Log(LogLevel.QUIET if asked.quiet else level, sink)


# -- serving -----------------------------------------------------------------------------------------------------------


def _serve(asked: Arguments, prepared: Prepared, log: Log, messages: Messages, *, own: bool) -> int:
    from fastssh.daemon.connection import serve
    from fastssh.daemon.listening import Listeners
    from fastssh.daemon.parent import Parent, Plan
    from fastssh.daemon.pid_file import PidFile
    from fastssh.daemon.rehearsal import rehearse

    def plan(prepared: Prepared) -> Plan:
        return Plan(
            prepared.config.settings,
            lambda sock, logged_in: serve(sock, prepared, log, logged_in=logged_in),
            prepared.log_level or prepared.config.settings.log_level,
        )

    def reload() -> Plan:
        return plan(_prepare(asked, _load(asked, own), log))

    settings = prepared.config.settings
    listeners = Listeners(log)
    listeners.set(settings.listen_addresses)
    if own:
        key = prepared.host_keys[0].public
        host, port = listeners.sockets[0].getsockname()[:2]
        print_text(f"{arguments.TOOL.name}: {host} port {port}, host key {key.family} {key.fingerprint()}\n", messages)
    if asked.debug:
        from fastssh.daemon.inetd import serve_one

        return serve_one(listeners, prepared, log)
    if not asked.foreground:
        _daemonise()
    pid_file = PidFile(log)
    parent = Parent(plan(prepared), listeners, log, reload, pid_file)
    pid_file.write(settings.pid_file)
    rehearse(prepared)
    return parent.run()


def _daemonise() -> None:
    """A process of its own session without a terminal; the one that was started ends well. daemon(3)."""
    if os.fork() > 0:
        os._exit(0)
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.close(null)


if __name__ == "__main__":
    run()
