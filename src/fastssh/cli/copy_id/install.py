"""How lines get into a file on the server: with sh(1) there, or over SFTP. All of them do, or the file is as it was."""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import secrets
import shlex
from typing import TYPE_CHECKING, Final

from fastssh.cli.copy_id.arguments import TARGET
from fastssh.errors import (
    SFTPFileNotFoundError,
    SFTPPermissionError,
    SFTPUnsupportedError,
    SSHError,
    TransferError,
)
from fastssh.keys.authorized_keys import MAX_AUTHORIZED_KEYS_FILE
from fastssh.sftp.attributes import SFTPAttributes

if TYPE_CHECKING:
    from fastssh.aio.client import ClientConnection
    from fastssh.aio.sftp import SFTPClient

END_SECONDS: Final = 2.0  # to take away what is not finished

# For any sh. It is handed over in single quotes, through a login shell that may be another: no "!", which csh looks
# for, and no quote behind a backslash, which fish reads. What came is counted: a lost connection looks like an end.
# A file that root changes stays its owner's, and one of another place keeps its mode: sshd reads it as the user.
_SCRIPT: Final = """cd; umask 077; LC_ALL=C; export LC_ALL; f=$1;
if [ "$f" = .ssh/authorized_keys ]; then
if [ -f /etc/openwrt_release ] && [ "$(id -u)" = 0 ]; then f=/etc/dropbear/authorized_keys; fi;
if [ "$(uname -s)" = Haiku ]; then f=config/settings/ssh/authorized_keys; fi;
fi;
k=$(cat); if [ "${#k}" -ne "$2" ]; then echo "the keys did not arrive whole" >&2; exit 1; fi;
if [ -L "$f" ]; then f=$(readlink -f "$f") || exit 1; fi;
d=$(dirname "$f"); mkdir -p "$d" || exit 1;
case "$d" in .ssh|*/.ssh) chmod 700 "$d" || exit 1;; esac;
t="$f.$$"; rm -f "$t";
{ if [ -e "$f" ]; then
cp -p "$f" "$t" && chmod u+w,go-w "$t" && { [ -z "$(tail -c 1 "$f")" ] || echo >> "$t"; }; fi; } &&
printf "%s\\n" "$k" >> "$t" && { [ "$1" != .ssh/authorized_keys ] || chmod 600 "$t"; } &&
mv -f "$t" "$f" || { rm -f "$t"; exit 1; };
if type restorecon > /dev/null 2>&1; then restorecon -F "$d" "$f"; fi"""


def command(target: str, data: bytes) -> str:
    """The command that adds ``data``, whole lines on its standard input, to the file ``target``."""
    count = len(data.rstrip(b"\n"))
    return f"exec sh -c {shlex.quote(_SCRIPT.replace(chr(10), ' '))} sh {shlex.quote(target)} {count}"


async def by_command(connection: ClientConnection, target: str, data: bytes) -> None:
    """Raises TransferError with what the server's commands said."""
    done = await connection.run(command(target, data), input=data)
    if done.exit_status != 0:
        said = done.stderr.decode("utf-8", "replace").strip() or "the server's shell refused, without a word"
        raise TransferError(f"{target}: {said.splitlines()[0]}")


async def by_sftp(sftp: SFTPClient, target: str, data: bytes) -> None:
    """The same over SFTP. Where files cannot be replaced the lines are appended. Raises SFTPError, TransferError."""
    folder = posixpath.dirname(target)
    if folder:
        await sftp.makedirs(folder, 0o700, exist_ok=True)
        if posixpath.basename(folder) == ".ssh":
            await sftp.chmod(folder, 0o700)
    old, path = b"", target
    known = SFTPAttributes()
    try:
        path = await sftp.realpath(target)  # a link stays one
        async with sftp.open(path, "r") as file:
            known = await file.stat()
            old = await file.read(MAX_AUTHORIZED_KEYS_FILE + 1)
    except SFTPFileNotFoundError:
        pass
    if len(old) > MAX_AUTHORIZED_KEYS_FILE:
        raise TransferError(f"{target}: larger than {MAX_AUTHORIZED_KEYS_FILE} bytes")
    added = (b"\n" if old and not old.endswith(b"\n") else b"") + data
    temporary = f"{path}.{secrets.token_hex(4)}"
    try:
        await _write(sftp, temporary, "x", old + added)
        await _keep(sftp, temporary, known, private=target == TARGET)
        await sftp.posix_rename(temporary, path)
    except SFTPUnsupportedError:
        await sftp.remove(temporary)
        await _write(sftp, path, "a", added)
        if target == TARGET:
            await sftp.chmod(path, 0o600)
    except BaseException:
        with contextlib.suppress(SSHError, TimeoutError):  # the first error is the one that counts
            async with asyncio.timeout(END_SECONDS):
                await sftp.remove(temporary)
        raise


async def _write(sftp: SFTPClient, path: str, mode: str, data: bytes) -> None:
    async with sftp.open(path, mode, SFTPAttributes(permissions=0o600)) as file:
        await file.write(data)


async def _keep(sftp: SFTPClient, path: str, known: SFTPAttributes, *, private: bool) -> None:
    """The file gets the owner of the old one, and its mode unless it is to be ``private``. Raises SFTPUnsupportedError
    where that may not be."""
    mode = 0o600 if private or known.permissions is None else known.permissions & 0o7755 | 0o200
    try:
        now = await sftp.stat(path)
        if known.uid is not None and (known.uid, known.gid) != (now.uid, now.gid):
            await sftp.setstat(path, SFTPAttributes(uid=known.uid, gid=known.gid))
        await sftp.chmod(path, mode)
    except SFTPPermissionError as error:
        raise SFTPUnsupportedError(str(error)) from None
