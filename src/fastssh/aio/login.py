"""From a protected transport to a logged-in user: the auth flow, with a person, an agent and key files behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastssh.aio import identities
from fastssh.aio.options import LOG_DEBUG1, LOG_WARNING, ClientOptions
from fastssh.auth.client import AuthClient
from fastssh.auth.effects import AskAgent, AskPrivateKey, AskText, Identity, Question
from fastssh.auth.methods import AuthContext
from fastssh.errors import AgentError, AuthenticationError, SSHError
from fastssh.wire.text import printable

if TYPE_CHECKING:
    from fastssh.aio.agent import AgentClient
    from fastssh.aio.driver import Driver
    from fastssh.transport.transport import Transport

_PASSWORDS = frozenset(("password", "keyboard-interactive"))


class Patience:
    """Deadlines that stand still while a person thinks."""

    def __init__(self, *timeouts: asyncio.Timeout) -> None:
        self._timeouts = timeouts

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        running = [(timeout, when) for timeout in self._timeouts if (when := timeout.when()) is not None]
        for timeout, _ in running:
            timeout.reschedule(None)
        try:
            yield
        finally:
            for timeout, when in running:
                timeout.reschedule(when + loop.time() - begun)


async def open_agent(options: ClientOptions) -> AgentClient | None:
    """The agent of these options; None when there is none, or it does not answer."""
    path = options.agent_path()
    if path is None or "publickey" not in options.preferred_authentications:
        return None
    from fastssh.aio.agent import AgentClient

    try:
        return await AgentClient.connect(path)
    except AgentError as error:
        options.log(LOG_DEBUG1, str(error))
        return None


class Login:
    """One authentication. :meth:`run` returns when the server let us in; ``message`` is fed meanwhile. ``where`` names
    the server."""

    def __init__(
        self, options: ClientOptions, transport: Transport, driver: Driver, patience: Patience, where: str
    ) -> None:
        self._options, self._where = options, where
        self._transport = transport
        self._driver = driver
        self._patience = patience
        self._agent: AgentClient | None = None
        self._auth: AuthClient | None = None
        self._context: AuthContext | None = None
        self.asked = False  # whether a person, or an agent that may ask one, had to do with it
        self._notes: list[str] = []  # what went wrong on the way, for the error
        loop = asyncio.get_running_loop()
        self._done: asyncio.Future[str] = loop.create_future()
        self._questions: asyncio.Queue[Question] = asyncio.Queue(1)  # the flow asks one at a time

    async def run(self, agent: AgentClient | None, files: list[Identity], *, server_changed: bool) -> None:
        """Logs in; ``files`` are the identities in files. ``server_changed``: its host key is not the known one, so it
        gets no password.

        Raises AuthenticationError, or what ended the connection.
        """
        self._agent = agent
        if agent is not None:
            await self._bind(agent)
        options, extensions = self._options, self._transport.peer_extensions
        keys = await identities.gather(options, agent, files)
        methods = [name for name in options.preferred_authentications if not (server_changed and name in _PASSWORDS)]
        algorithms = extensions.get("server-sig-algs")
        host_key = self._transport.host_key
        context = self._context = AuthContext(
            user=options.user,
            host=options.host,
            session_id=self._transport.session_id,
            host_key=host_key.blob if host_key is not None else b"",
            server_sig_algs=None if algorithms is None else tuple(algorithms.decode("ascii", "replace").split(",")),
            hostbound=extensions.get("publickey-hostbound@openssh.com") == b"0",
            identities=keys,
            accepted_algorithms=options.pubkey_accepted_algorithms,
            password=options.password,
            fingerprint_hash=options.fingerprint_hash,
            password_prompts=options.number_of_password_prompts,
            preferred=methods,
        )
        self._auth = AuthClient(context, self._transport.send, self)
        answering = asyncio.create_task(self._answer_questions(self._auth))
        try:
            if self._done.done():  # the connection was lost while the agent was asked
                self._done.result()
            self._auth.start()
            self._driver.wake()
            await asyncio.wait((self._done, answering), return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()  # it only ends by raising
            method = self._done.result()
            await self._add_keys(context)
            options.tell(f'Authenticated to {self._where} using "{method}".')
        except AuthenticationError as error:
            for note in self._notes:
                error.add_note(note)
            raise
        finally:
            answering.cancel()
            await asyncio.wait((answering,))
            self._auth.close()

    @property
    def identity(self) -> Identity | None:
        """The key that alone was enough to log in; None for other ways."""
        context = self._context
        if context is None or context.partial_successes or len(context.accepted) != 1:
            return None
        return context.accepted[0]

    def message(self, payload: bytes) -> None:
        """A message of the authentication protocol, or the answer to the service request."""
        if self._auth is None:
            raise SSHError("authentication message before authentication began")
        self._auth.message(payload)

    def lost(self, error: SSHError) -> None:
        """The connection ended."""
        if not self._done.done():
            self._done.set_exception(error)
            self._done.exception()  # seen: whoever waits gets it, and nobody has to

    # -- AuthObserver ----------------------------------------------------------------------------------------------

    def question(self, question: Question) -> None:
        self._questions.put_nowait(question)

    def banner(self, text: str) -> None:
        if self._options.banner is not None:
            self._options.banner(text)
        elif self._options.prompter is not None:
            self._options.prompter.banner(text)
        else:
            self.tell(LOG_DEBUG1, text.rstrip("\n"))

    def tell(self, level: int, text: str) -> None:
        if level == LOG_WARNING:
            self._notes.append(text)
        for line in text.split("\n"):
            self._options.log(level, line)

    def authenticated(self, method: str) -> None:
        from fastssh.transport.transport import Phase

        self._transport.set_phase(Phase.CONNECTION)
        if not self._done.done():
            self._done.set_result(method)

    # -- answers ---------------------------------------------------------------------------------------------------

    async def _answer_questions(self, auth: AuthClient) -> None:
        while True:
            question = await self._questions.get()
            auth.answer(await self._answer(question))
            self._driver.wake()

    async def _answer(self, question: Question) -> object:
        match question:
            case AskText(prompt, echo):
                return await self._ask(prompt, echo=echo)
            case AskPrivateKey(identity):
                return await identities.unlock(
                    identity, self._ask, self.tell, attempts=self._options.number_of_password_prompts
                )
            case AskAgent(identity, data, algorithm):
                return await self._sign(identity, data, algorithm)

    async def _ask(self, prompt: str, *, echo: bool = False) -> str | None:
        if self._options.prompter is None:
            return None
        self.asked = True
        async with self._patience.paused():
            return await self._options.prompter.ask(prompt, echo=echo)

    async def _sign(self, identity: Identity, data: bytes, algorithm: str) -> bytes | None:
        if self._agent is None or identity.public is None:
            return None
        self.asked = True
        try:
            async with self._patience.paused():  # somebody may have to confirm it
                return await self._agent.sign(identity.public.blob, data, algorithm)
        except AgentError as error:
            self.tell(LOG_WARNING, f"sign_and_send_pubkey: signing failed for {identity.name}: {error}")
            return None

    async def _add_keys(self, context: AuthContext) -> None:
        """AddKeysToAgent: keys of files that logged in. Nothing that goes wrong with it undoes the login."""
        options = self._options
        path = options.agent_path()
        if options.add_keys_to_agent == "no" or path is None:
            return
        from fastssh.aio.agent import AgentClient

        for signer in context.signers:
            if signer.origin != "file" or signer.private is None:
                continue
            try:
                agent = await AgentClient.connect(path)  # not the one that is bound to this session
                try:
                    if options.add_keys_to_agent == "ask" and not await self._may_add(signer):
                        continue
                    await agent.add(
                        signer.private, signer.private.comment or signer.path,
                        lifetime=options.add_keys_lifetime, confirm=options.add_keys_to_agent == "confirm",
                    )  # fmt: skip
                    options.log(LOG_DEBUG1, f"identity added to agent: {signer.name}")
                finally:
                    agent.close()
            except AgentError as error:
                options.log(LOG_DEBUG1, f"could not add identity to agent: {signer.name}: {error}")

    async def _may_add(self, signer: Identity) -> bool:
        assert signer.private is not None
        try:
            answer = await self._ask(
                f"Add key {signer.name} ({printable(signer.private.comment)}) to agent? ", echo=True
            )
        except SSHError:  # nobody answered
            return False
        return answer is not None and answer.strip().lower() in ("", "yes")

    async def _bind(self, agent: AgentClient) -> None:
        """session-bind@openssh.com: lets the agent restrict keys to hosts (OpenSSH PROTOCOL.agent section 1)."""
        transport = self._transport
        if transport.host_key is None:
            return
        try:
            await agent.session_bind(
                transport.host_key.blob, transport.session_id, transport.host_key_signature, forwarding=False
            )
        except AgentError as error:
            self._options.log(LOG_DEBUG1, f"session-bind@openssh.com: {error}")
