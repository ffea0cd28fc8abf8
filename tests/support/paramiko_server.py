"""A paramiko server for interoperability tests: exec through the shell, SFTP rooted in a directory."""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paramiko


class Server(paramiko.ServerInterface):
    def __init__(self, authorized: set[tuple[str, str]], password: str) -> None:
        self._authorized, self._password = authorized, password

    def get_allowed_auths(self, username: str) -> str:
        return "publickey,password"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        known = (key.get_name(), key.get_base64()) in self._authorized
        return paramiko.AUTH_SUCCESSFUL if known else paramiko.AUTH_FAILED

    def check_auth_password(self, username: str, password: str) -> int:
        return paramiko.AUTH_SUCCESSFUL if password == self._password else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED if kind == "session" else paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=run_command, args=(channel, command), daemon=True).start()
        return True


def run_command(channel: paramiko.Channel, command: bytes) -> None:
    child = subprocess.Popen(
        ["/bin/sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdin and child.stdout and child.stderr

    def feed() -> None:
        while data := channel.recv(65536):
            child.stdin.write(data)  # type: ignore[union-attr]
        child.stdin.close()  # type: ignore[union-attr]

    def drain(source: Any, send: Callable[[bytes], None]) -> None:
        while data := source.read1(65536):
            send(data)

    threading.Thread(target=feed, daemon=True).start()
    errors = threading.Thread(target=drain, args=(child.stderr, channel.sendall_stderr))
    errors.start()
    drain(child.stdout, channel.sendall)
    errors.join()
    channel.send_exit_status(child.wait())
    channel.close()


def set_attributes(target: int | str, attr: paramiko.SFTPAttributes) -> None:
    """paramiko's own set_file_attr empties a file given by name and closes one given by descriptor."""
    if attr.st_mode is not None:
        os.chmod(target, attr.st_mode & 0o7777)
    if attr.st_size is not None:
        os.truncate(target, attr.st_size)
    if attr.st_atime is not None and attr.st_mtime is not None:
        os.utime(target, (attr.st_atime, attr.st_mtime))


class Handle(paramiko.SFTPHandle):
    def __init__(self, descriptor: int, flags: int) -> None:
        super().__init__(flags)
        self._descriptor = descriptor

    def read(self, offset: int, length: int) -> bytes | int:
        try:
            data = os.pread(self._descriptor, length, offset)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)
        return data or paramiko.SFTP_EOF

    def write(self, offset: int, data: bytes) -> int:
        try:
            while data:
                written = os.pwrite(self._descriptor, data, offset)
                data, offset = data[written:], offset + written
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)
        return paramiko.SFTP_OK

    def stat(self) -> paramiko.SFTPAttributes | int:
        return paramiko.SFTPAttributes.from_stat(os.fstat(self._descriptor))

    def chattr(self, attr: paramiko.SFTPAttributes) -> int:
        return answer(lambda: set_attributes(self._descriptor, attr))

    def close(self) -> None:
        os.close(self._descriptor)


def answer(action: Callable[[], object]) -> int:
    """The status of an operation that returns nothing."""
    try:
        action()
    except OSError as error:
        return paramiko.SFTPServer.convert_errno(error.errno or 0)
    return paramiko.SFTP_OK


class Files(paramiko.SFTPServerInterface):
    root: Path  # set on a subclass

    def _real(self, path: str) -> str:
        return str(self.root) + self.canonicalize(path)

    def list_folder(self, path: str) -> list[paramiko.SFTPAttributes] | int:
        try:
            with os.scandir(self._real(path)) as entries:
                return [
                    paramiko.SFTPAttributes.from_stat(entry.stat(follow_symlinks=False), entry.name)
                    for entry in entries
                ]
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)

    def stat(self, path: str) -> paramiko.SFTPAttributes | int:
        try:
            return paramiko.SFTPAttributes.from_stat(os.stat(self._real(path)))
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)

    def lstat(self, path: str) -> paramiko.SFTPAttributes | int:
        try:
            return paramiko.SFTPAttributes.from_stat(os.lstat(self._real(path)))
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)

    def open(self, path: str, flags: int, attr: paramiko.SFTPAttributes) -> paramiko.SFTPHandle | int:
        try:
            mode = 0o666 if attr.st_mode is None else attr.st_mode & 0o777
            return Handle(os.open(self._real(path), flags, mode), flags)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)

    def remove(self, path: str) -> int:
        return answer(lambda: os.remove(self._real(path)))

    def rename(self, oldpath: str, newpath: str) -> int:
        return answer(lambda: os.rename(self._real(oldpath), self._real(newpath)))

    def mkdir(self, path: str, attr: paramiko.SFTPAttributes) -> int:
        return answer(lambda: os.mkdir(self._real(path)))

    def rmdir(self, path: str) -> int:
        return answer(lambda: os.rmdir(self._real(path)))

    def chattr(self, path: str, attr: paramiko.SFTPAttributes) -> int:
        return answer(lambda: set_attributes(self._real(path), attr))


def serve(options: argparse.Namespace) -> None:
    authorized = {tuple(line.split()[:2]) for line in Path(options.authorized_keys).read_text().splitlines()}
    host_keys = [paramiko.PKey.from_path(path) for path in options.host_key]
    files = type("RootedFiles", (Files,), {"root": Path(options.root)})
    with socket.create_server(("127.0.0.1", options.port)) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve_one, args=(connection, host_keys, authorized, files, options)).start()


def serve_one(
    connection: socket.socket,
    host_keys: list[paramiko.PKey],
    authorized: set[tuple[str, ...]],
    files: type[Files],
    options: argparse.Namespace,
) -> None:
    transport = paramiko.Transport(connection)
    for key in host_keys:
        transport.add_server_key(key)
    if options.rekey_bytes:
        transport.packetizer.REKEY_BYTES = options.rekey_bytes
    transport.set_subsystem_handler("sftp", paramiko.SFTPServer, files)
    try:
        transport.start_server(server=Server(authorized, options.password))  # type: ignore[arg-type]
        transport.join()
    except (paramiko.SSHException, EOFError, OSError) as error:
        print(f"connection ended: {error}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--root", required=True)
    parser.add_argument("--authorized-keys", required=True)
    parser.add_argument("--password", required=True)
    parser.add_argument("--host-key", action="append", required=True)
    parser.add_argument("--rekey-bytes", type=int, default=0)
    serve(parser.parse_args())
