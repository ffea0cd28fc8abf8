"""One connection without a parent: on standard input and output (-i), or the first one that comes (-d)."""

from __future__ import annotations

import os
import select
import selectors
import socket
import stat

from fastssh.daemon.connection import serve
from fastssh.daemon.endings import Ending
from fastssh.daemon.listening import Listeners
from fastssh.daemon.log import Log
from fastssh.daemon.prepare import Prepared

PIECE = 64 * 1024


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
                return _status(serve(sock, prepared, log))


def serve_standard_streams(prepared: Prepared, log: Log) -> int:
    """Serves the client on descriptors 0 and 1: a socket, or a pipe in each direction; returns the exit status."""
    source, sink = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)  # no program of the session may get the connection for its own
    os.dup2(null, 1)
    os.close(null)
    if _same_socket(source, sink):
        os.close(sink)
        return _status(serve(socket.socket(fileno=source), prepared, log))
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
    return _status(serve(ours, prepared, log))


def _status(ending: Ending) -> int:
    return 0 if ending is Ending.LOGGED_IN else 255


def _same_socket(source: int, sink: int) -> bool:
    one, other = os.fstat(source), os.fstat(sink)
    return stat.S_ISSOCK(one.st_mode) and (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _relay(source: int, sink: int, sock: socket.socket) -> None:
    """Copies between two pipes and a socket until the server closes, in a process of its own: a pipe can block."""
    upward = True
    while True:
        ready, _, _ = select.select([sock.fileno(), *([source] if upward else [])], [], [])
        if source in ready:
            data = os.read(source, PIECE)
            if data:
                sock.sendall(data)
            else:
                upward = False
                sock.shutdown(socket.SHUT_WR)
        if sock.fileno() in ready:
            data = sock.recv(PIECE)
            if not data:
                return
            view = memoryview(data)
            while view:
                view = view[os.write(sink, view) :]
