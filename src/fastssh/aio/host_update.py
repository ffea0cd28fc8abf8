"""UpdateHostKeys: the user's known_hosts follow the keys that a server whose key they know says and proves to have."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING, Final

from fastssh import algorithms
from fastssh.aio.options import LOG_DEBUG1, LOG_WARNING, ClientOptions
from fastssh.errors import HostKeyError, KeyFormatError, ProtocolError, SignatureError, SSHError
from fastssh.files import UnfitFileError, shown
from fastssh.keys.host_announcement import PROVE, decode_strings, encode_strings, to_prove
from fastssh.keys.host_update import Host, Update, plan_update, updated
from fastssh.keys.known_hosts import writable_name
from fastssh.keys.known_hosts_file import Line, read_lines, rewrite
from fastssh.keys.public import PublicKey, decode_key

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_KEYS: Final = 64  # announced by one server; sshd has one of each of four types
PROOF_SECONDS: Final = 30.0
QUESTIONS: Final = 3  # until a person has said yes or no

_OLD_TYPES: Final = 16  # removed keys that are named in the log


class HostKeyUpdate:
    """One update. ``request(name, data, on_reply)`` makes a global request; ``algorithm`` is the host key's of the key
    exchange."""

    def __init__(
        self,
        options: ClientOptions,
        host: Host,
        *,
        session_id: bytes,
        algorithm: str,
        request: Callable[[str, bytes, Callable[[bytes | None], None]], None],
    ) -> None:
        self._options, self._host, self._session_id = options, host, session_id
        self._algorithm, self._request = algorithm, request
        self._paths = options.known_hosts_paths()[0]

    async def run(self, blobs: list[bytes]) -> None:
        """Does what is to be done for an announcement. Whatever is wrong with it or with the files is a line in the
        log: the connection itself is not in doubt."""
        try:
            await self._run(blobs)
        except (SSHError, OSError) as error:
            self._log(LOG_WARNING, f"UpdateHostKeys: {error}")

    async def _run(self, blobs: list[bytes]) -> None:
        if len(blobs) > MAX_KEYS:
            raise HostKeyError(f"server announces {len(blobs)} host keys: at most {MAX_KEYS} are looked at")
        if len(set(blobs)) != len(blobs):
            raise HostKeyError("received duplicated host key")
        keys = [key for key in map(self._learnable, blobs) if key is not None]
        if not keys:
            self._tell("server sent no hostkeys")
            return
        files = await asyncio.to_thread(self._read)
        update = plan_update(files, self._host, keys, frozenset(blobs))
        if update.refused:
            self._tell(update.refused)
            return
        if update.new:
            await self._prove(update.new)
        if await self._permitted(update, files):
            proven = frozenset(key.blob for key in update.new)
            writing = asyncio.create_task(asyncio.to_thread(self._write, keys, frozenset(blobs), proven))
            try:
                await asyncio.shield(writing)
            except asyncio.CancelledError:
                await asyncio.wait({writing})  # a thread goes on, and whoever closes the connection waits for it
                raise

    def _learnable(self, blob: bytes) -> PublicKey | None:
        """The key, if it is one that we could have been shown in the key exchange."""
        allowed = self._options.host_key_algorithms or algorithms.HOST_KEYS
        try:
            key = decode_key(blob)
        except KeyFormatError as error:
            self._log(LOG_DEBUG1, f"client_input_hostkeys: convert key: {error}")
            return None
        if key.plain is not key or not set(allowed) & set(key.signature_algorithms):
            return None
        if key.algorithm == "ssh-rsa" and key.bits < self._options.required_rsa_size:
            return None
        return key

    def _read(self) -> list[list[Line]]:
        files = []
        for path in self._paths:
            try:
                files.append(read_lines(path))
            except FileNotFoundError:
                files.append([])
            except UnfitFileError:  # /dev/null, and what else was no file to look keys up in
                files.append([])
        return files

    # -- the proof -------------------------------------------------------------------------------------------------

    async def _prove(self, keys: tuple[PublicKey, ...]) -> None:
        """Raises HostKeyError unless the server has shown that all these keys are its own."""
        answered: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._request(
            PROVE,
            encode_strings(key.blob for key in keys),
            lambda reply: None if answered.done() else answered.set_result(reply),
        )
        try:
            async with asyncio.timeout(PROOF_SECONDS):
                reply = await answered
        except TimeoutError:
            raise HostKeyError(f"server did not prove its host keys in {PROOF_SECONDS:g} s") from None
        if reply is None:
            raise HostKeyError("Server failed to confirm ownership of private host keys")
        try:
            signatures = decode_strings(reply)
        except ProtocolError as error:
            raise HostKeyError(f"malformed proof of host keys: {error}") from None
        if len(signatures) != len(keys):
            raise HostKeyError(f"server sent {len(signatures)} proofs for {len(keys)} host keys")
        await asyncio.to_thread(self._verify, keys, signatures)

    def _verify(self, keys: tuple[PublicKey, ...], signatures: list[bytes]) -> None:
        for key, signature in zip(keys, signatures, strict=True):
            # An RSA key signs with what was negotiated, where that was an RSA algorithm.
            own = key.signature_algorithms
            allowed = (self._algorithm,) if self._algorithm in own else own
            try:
                key.verify(signature, to_prove(self._session_id, key.blob), allowed)
            except SignatureError as error:
                raise HostKeyError(f"server gave bad signature for {key.family} key: {error}") from None

    # -- the files -------------------------------------------------------------------------------------------------

    async def _permitted(self, update: Update, files: list[list[Line]]) -> bool:
        """Tells of the change; with ``ask`` a person decides."""
        asking = self._options.updating == "ask"
        say = partial(self._log, LOG_WARNING) if asking else self._options.tell
        if asking:
            say("The server has updated its host keys.")
            say("These changes were verified by the server's existing trusted key.")
        for key in update.new:
            say(f"Learned new hostkey: {key.family} {key.fingerprint()}")
        for blob in list(update.old)[:_OLD_TYPES]:
            try:
                key = decode_key(blob)
            except KeyFormatError:
                continue
            say(f"Deprecating obsolete hostkey: {key.family} {key.fingerprint()}")
        if not asking:
            return True
        prompter = self._options.prompter
        for _ in range(QUESTIONS if prompter is not None else 0):
            assert prompter is not None
            answer = (await prompter.ask("Accept updated hostkeys? (yes/no): ", echo=True)).strip().lower()
            if answer in ("yes", "no"):
                return answer == "yes"
            say('Please enter "yes" or "no"')
        return False

    def _write(self, keys: list[PublicKey], announced: frozenset[bytes], proven: frozenset[bytes]) -> None:
        """The files as they are now: somebody else may have written to them meanwhile, and what then is new was not
        proven."""
        files = self._read()
        update = plan_update(files, self._host, keys, announced)
        if update.refused or not proven.issuperset(key.blob for key in update.new):
            self._tell(update.refused or "known hosts have changed meanwhile")
            return
        if not writable_name(self._host.name):
            raise HostKeyError(f"{self._host.name!a} cannot be a known host")
        for number, (path, lines) in enumerate(zip(self._paths, files, strict=True)):
            if not lines and number:
                continue
            # Keys are added to the first file alone, and removed from all.
            add = [] if number else keys
            changed = updated(lines, self._host, update, add, hashed=self._options.hash_known_hosts)
            if changed is None:
                continue
            try:
                rewrite(os.path.realpath(path), changed, f"{os.fspath(path)}.old")
            except FileNotFoundError:
                self._tell(f"known hosts file {shown(path)} does not exist")
            except (OSError, UnfitFileError) as error:
                reason = getattr(error, "strerror", None) or error
                self._log(LOG_WARNING, f"UpdateHostKeys: {shown(path)}: {reason}")

    def _tell(self, text: str) -> None:
        self._log(LOG_DEBUG1, f"client_input_hostkeys: {text}")

    def _log(self, level: int, text: str) -> None:
        self._options.log(level, text)
