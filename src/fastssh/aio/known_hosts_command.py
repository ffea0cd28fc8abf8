"""KnownHostsCommand of ssh_config(5): a program that knows the keys of hosts, asked while keys are exchanged."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
from typing import TYPE_CHECKING, Any, Final

from fastssh.errors import HostKeyError
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastssh.keys.public import PublicKey

NAME: Final = "KnownHostsCommand"  # what stands for a file's name where its lines are spoken of
ANSWER_SECONDS: Final = 60.0
MAX_ANSWER: Final = 4 * 1024 * 1024  # bytes


def question(invocation: str, name: str, key: PublicKey | None, fingerprint: str) -> Mapping[str, str]:
    """The tokens that stand for what is asked. ``invocation`` is ORDER, HOSTNAME or ADDRESS."""
    if key is None:
        return {"I": invocation, "H": name, "t": "NONE", "f": "NONE", "K": "NONE"}
    text = base64.b64encode(key.blob).decode("ascii")
    return {"I": invocation, "H": name, "t": key.algorithm, "f": fingerprint, "K": text}


async def ask(command: Sequence[str]) -> str:
    """What the program says, as lines of known_hosts. No shell has a part in it.

    Raises HostKeyError for whatever goes wrong: who cannot be asked does not vouch for anybody.
    """
    shown = printable(command[0]) if command else ""
    if not command or not os.path.isabs(command[0]):
        raise HostKeyError(f"{NAME}: {shown!r} is not an absolute path")
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
    except (OSError, ValueError) as error:
        raise HostKeyError(f"{NAME}: {shown}: {getattr(error, 'strerror', None) or error}") from error
    assert process.stdout is not None
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            answer = b""
            while more := await process.stdout.read(65536):
                answer += more
                if len(answer) > MAX_ANSWER:
                    raise HostKeyError(f"{NAME}: {shown} said more than {MAX_ANSWER} bytes")
            status = await process.wait()
    except TimeoutError:
        raise HostKeyError(f"{NAME}: {shown} took more than {ANSWER_SECONDS:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            # A child of its own may hold the pipe open: without this, waiting would be for that one's end.
            inside: Any = process
            inside._transport.get_pipe_transport(1).close()
            await asyncio.shield(process.wait())
    if status != 0:
        how = f"ended with status {status}" if status > 0 else f"was ended by signal {-status}"
        raise HostKeyError(f"{NAME} failed: {shown} {how}")
    return answer.decode("utf-8", "surrogateescape")
