"""How lines get into a file on the server: with sh(1) there, or over SFTP. All of them do, or the file is as it was."""

from __future__ import annotations

import posixpath
import secrets
import shlex
from typing import TYPE_CHECKING, Final

from fastssh.errors import SFTPError, SFTPFileNotFoundError, SFTPUnsupportedError, TransferError
from fastssh.keys.authorized_keys import MAX_AUTHORIZED_KEYS_FILE
from fastssh.sftp.attributes import SFTPAttributes

if TYPE_CHECKING:
    from fastssh.aio.client import ClientConnection
    from fastssh.aio.sftp import SFTPClient

# For any sh. It is handed over in single quotes, through a login shell that may be another: no "!", which csh looks
# for, and no quote behind a backslash, which fish reads. What came is counted: a lost connection looks like an end.
_SCRIPT: Final = """cd; umask 077; LC_ALL=C; export LC_ALL; f=$1;
if [ "$f" = .ssh/authorized_keys ]; then
if [ -f /etc/openwrt_release ] && [ "$(id -u)" = 0 ]; then f=/etc/dropbear/authorized_keys; fi;
if [ "$(uname -s)" = Haiku ]; then f=config/settings/ssh/authorized_keys; fi;
fi;
k=$(cat); if [ "${#k}" -ne "$2" ]; then echo "the keys did not arrive whole" >&2; exit 1; fi;
if [ -L "$f" ]; then f=$(readlink -f "$f") || exit 1; fi;
d=$(dirname "$f"); mkdir -p "$d" || exit 1;
case "$d" in .ssh|*/.ssh) chmod 700 "$d" || exit 1;; esac;
t="$f.$$";
{ if [ -e "$f" ]; then cat "$f" && { [ -z "$(tail -c 1 "$f")" ] || echo; }; fi && printf "%s\\n" "$k"; } > "$t" &&
chmod 600 "$t" && mv -f "$t" "$f" || { rm -f "$t"; exit 1; };
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
    try:
        path = await sftp.realpath(target)  # a link stays one
        async with sftp.open(path, "r") as file:
            old = await file.read(MAX_AUTHORIZED_KEYS_FILE + 1)
    except SFTPFileNotFoundError:
        pass
    if len(old) > MAX_AUTHORIZED_KEYS_FILE:
        raise TransferError(f"{target}: larger than {MAX_AUTHORIZED_KEYS_FILE} bytes")
    added = (b"\n" if old and not old.endswith(b"\n") else b"") + data
    temporary = f"{path}.{secrets.token_hex(4)}"
    try:
        await _write(sftp, temporary, "x", old + added)
        await sftp.posix_rename(temporary, path)
    except SFTPUnsupportedError:
        await sftp.remove(temporary)
        await _write(sftp, path, "a", added)
    except SFTPError:
        if await sftp.exists(temporary):
            await sftp.remove(temporary)
        raise


async def _write(sftp: SFTPClient, path: str, mode: str, data: bytes) -> None:
    async with sftp.open(path, mode, SFTPAttributes(permissions=0o600)) as file:
        await file.write(data)
        await file.setstat(SFTPAttributes(permissions=0o600))
