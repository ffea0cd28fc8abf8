"""One connection without a parent: on standard input and output (-i), or the first one that comes (-d)."""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import socket
import stat
import threading

from fastssh.daemon.connection import serve
from fastssh.daemon.endings import GRACE_MARGIN, Ending
from fastssh.daemon.listening import Listeners
from fastssh.daemon.log import Log
from fastssh.daemon.prepare import Prepared
from fastssh.daemon.signals import install

PIECE = 64 * 1024  # bytes
LAST_SECONDS = 10.0  # for a client to take the server's last words


def serve_one(listeners: Listeners, prepared: Prepared, log: Log) -> int:
    """Accepts one connection and serves it in this process; returns the exit status."""
    with selectors.DefaultSelector() as selector:
        for listener in listeners.sockets:
            selector.register(listener, selectors.EVENT_READ, listener)
        while True:
            for key, _ in selector.select():
                try:
                    sock, _ = key.data.accept()
                except OSError as error:  # it went away
                    log.error(f"accept: {error.strerror}")
                    continue
                listeners.close()
                return _serve(sock, prepared, log)


def serve_standard_streams(prepared: Prepared, log: Log) -> int:
    """Serves the client on descriptors 0 and 1: a socket, or a pipe in each direction; returns the exit status."""
    source, sink = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)  # no program of the session may get the connection for its own
    os.dup2(null, 1)
    os.close(null)
    if _same_socket(source, sink):
        os.close(sink)
        return _serve(socket.socket(fileno=source), prepared, log)
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        status = 1
        try:
            ours.close()
            _relay(source, sink, theirs)
            status = 0
        finally:
            os._exit(status)
    theirs.close()
    os.close(source)
    os.close(sink)
    return _serve(ours, prepared, log)


def _serve(sock: socket.socket, prepared: Prepared, log: Log) -> int:
    install()
    _limit(prepared.config.settings.login_grace_time)
    return 0 if serve(sock, prepared, log, logged_in=_unlimited) is Ending.LOGGED_IN else 255


def _limit(grace: float) -> None:
    """No parent ends this process when its login hangs where no timer of ours is looked at, as within PAM."""
    if grace > 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGALRM,))
        signal.setitimer(signal.ITIMER_REAL, grace + GRACE_MARGIN)


def _unlimited() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)


def _same_socket(source: int, sink: int) -> bool:
    one, other = os.fstat(source), os.fstat(sink)
    return stat.S_ISSOCK(one.st_mode) and (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _relay(source: int, sink: int, sock: socket.socket) -> None:
    """Copies between two pipes and a socket, in a process of its own: a pipe can block.

    Each way has a thread, since a client that writes before it reads may wait for the one while the other one waits for
    it. When the server closes, or nobody can be written to any more, a client has LAST_SECONDS to take what is left.
    """
    threading.Thread(target=_upward, args=(source, sock), daemon=True).start()
    down = threading.Thread(target=_downward, args=(sock, sink), daemon=True)
    down.start()
    poll = select.poll()
    poll.register(sock, 0)  # its end, and nothing else
    while not poll.poll():
        pass
    down.join(LAST_SECONDS)


def _upward(source: int, sock: socket.socket) -> None:
    try:
        while data := os.read(source, PIECE):
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    except OSError:  # the server has closed
        return


def _downward(sock: socket.socket, sink: int) -> None:
    try:
        while data := sock.recv(PIECE):
            view = memoryview(data)
            while view:
                view = view[os.write(sink, view) :]
    except OSError:  # the client has gone, or the server with words of the client unread
        pass
    with contextlib.suppress(OSError):  # it is closed at its other end as well
        sock.shutdown(socket.SHUT_RDWR)
