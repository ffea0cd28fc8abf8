"""An asyncssh server for interoperability tests: exec through the shell, SFTP rooted in a directory."""

from __future__ import annotations

import argparse
import asyncio
import functools

import asyncssh


class Server(asyncssh.SSHServer):
    def __init__(self, password: str) -> None:
        self._password = password

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return password == self._password


async def run_command(process: asyncssh.SSHServerProcess) -> None:
    if process.command is None:
        process.stderr.write(b"no shell here\n")
        process.exit(1)
        return
    child = await asyncio.create_subprocess_shell(
        process.command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert child.stdin and child.stdout and child.stderr
    await process.redirect(stdin=child.stdin)
    # redirect() of an output does not wait for its end: what comes late would be lost by exit()
    await asyncio.gather(relay(child.stdout, process.stdout), relay(child.stderr, process.stderr))
    process.exit(await child.wait())


async def relay(source: asyncio.StreamReader, sink: asyncssh.SSHWriter[bytes]) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()


async def serve(options: argparse.Namespace) -> None:
    async with await asyncssh.listen(
        "127.0.0.1",
        options.port,
        server_factory=functools.partial(Server, options.password),
        server_host_keys=options.host_key,
        authorized_client_keys=options.authorized_keys,
        process_factory=run_command,
        sftp_factory=functools.partial(asyncssh.SFTPServer, chroot=options.root.encode()),
        allow_scp=True,
        encoding=None,
        **({"rekey_bytes": options.rekey_bytes} if options.rekey_bytes else {}),
    ) as server:
        await server.wait_closed()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--root", required=True)
    parser.add_argument("--authorized-keys", required=True)
    parser.add_argument("--password", required=True)
    parser.add_argument("--host-key", action="append", required=True)
    parser.add_argument("--rekey-bytes", type=int, default=0)
    asyncio.run(serve(parser.parse_args()))
