"""Our client against a server of our own that misbehaves, over real sockets: each fault ends in one clear error."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from fastssh.aio.client import connect
from fastssh.auth.server import Attempt, Verdict
from fastssh.errors import (
    AuthenticationError,
    ChannelClosedError,
    ConnectionLostError,
    DisconnectedError,
    NegotiationError,
    ProtocolError,
    SSHError,
    SSHTimeoutError,
)
from fastssh.keys.private import generate_private_key
from fastssh.transport.phases import Role
from fastssh.wire import codec
from fastssh.wire.messages import (
    ChannelClose,
    ChannelOpen,
    ChannelOpenConfirmation,
    ChannelRequest,
    ChannelSuccess,
    Disconnect,
    GlobalRequest,
    Message,
    RequestFailure,
    UserauthBanner,
    UserauthFailure,
    UserauthPkOk,
    UserauthSuccess,
)
from tests.support.serving import Command, Server, finish_at_once, joined, options, serving

SECONDS = 20.0


class Person:
    """A prompter that answers from lists, and keeps what it was shown."""

    def __init__(self, *answers: str, confirm: bool = False) -> None:
        self.answers = list(answers)
        self.confirm = confirm
        self.prompts: list[tuple[str, bool]] = []
        self.questions: list[str] = []
        self.banners: list[str] = []

    async def ask(self, prompt: str, *, echo: bool) -> str:
        self.prompts.append((prompt, echo))
        await asyncio.sleep(0.01)
        return self.answers.pop(0)

    async def confirm_host_key(self, question: str, fingerprint: str) -> bool:
        self.questions.append(question)
        await asyncio.sleep(0.01)
        return self.confirm

    def banner(self, text: str) -> None:
        self.banners.append(text)


async def test_a_client_and_a_server_of_ours_talk(tmp_path: Path) -> None:
    async with asyncio.timeout(SECONDS), joined(tmp_path, password="x") as (conn, server):
        assert (await conn.run("anything")).exit_status == 0
        conn.close()
        await conn.wait_closed()
        while server.error is None:
            await asyncio.sleep(0.01)
        assert isinstance(server.error, DisconnectedError) and server.error.code == 11


async def test_signals_reach_the_server(tmp_path: Path) -> None:
    heard: list[bytes] = []

    def listen(payload: bytes) -> bool:
        if payload[0] == ChannelRequest.number:
            heard.append(payload)
        return False

    async with asyncio.timeout(SECONDS), joined(tmp_path, password="x") as (conn, server):
        server.on_message = listen
        server.on_exec = lambda command, line: True
        process = await conn.create_process("sleep")
        process.send_signal("TERM")
        while len(heard) < 2:
            await asyncio.sleep(0.01)
        assert ChannelRequest.decode(heard[-1]) == ChannelRequest(0, "signal", False, codec.utf8("TERM"))


# --- after login ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        RequestFailure(),
        ChannelSuccess(7),
        ChannelOpenConfirmation(7, 7, 1000, 1000),
        ChannelClose(7),
        UserauthSuccess(),
        UserauthFailure(("password",)),
        UserauthPkOk("ssh-ed25519", b""),
        b"\x5e" + codec.uint32(7) + codec.string(b"data"),
        b"\x50\xff",
        b"\x00",
        b"\x07" + codec.uint32(0),  # EXT_INFO after authentication
        b"\x06" + codec.utf8("ssh-userauth"),
        b"\x15",  # NEWKEYS without a key exchange
    ],
)
async def test_row02_messages_out_of_place_end_the_connection(message: Message | bytes, tmp_path: Path) -> None:
    async with asyncio.timeout(SECONDS), joined(tmp_path, password="x") as (conn, server):
        server.on_exec = lambda command, line: True
        waiting = asyncio.create_task(conn.run("something"))
        while not server.commands:
            await asyncio.sleep(0.01)
        server.send(message if isinstance(message, bytes) else message.encode())
        with pytest.raises(ProtocolError):
            await waiting
        assert isinstance(conn.error, ProtocolError)
        await conn.wait_closed()
        while server.error is None:
            await asyncio.sleep(0.01)
        assert isinstance(server.error, DisconnectedError | ConnectionLostError)  # and it was told


async def test_row11_data_after_close_is_refused(tmp_path: Path) -> None:
    def close_and_go_on(command: Command, line: bytes) -> bool:
        server.send(ChannelClose(0).encode())
        server.send(b"\x5e" + codec.uint32(0) + codec.string(b"late"))
        return True

    async with asyncio.timeout(SECONDS), joined(tmp_path, password="x") as (conn, server):
        server.on_exec = close_and_go_on
        with pytest.raises(SSHError):
            await conn.run("something")
        await conn.wait_closed()
        assert isinstance(conn.error, ProtocolError)


async def test_row08_more_data_than_the_window_ends_the_connection(tmp_path: Path) -> None:
    async with asyncio.timeout(SECONDS), joined(tmp_path, password="x") as (conn, server):
        server.on_exec = lambda command, line: True
        process = await conn.create_process("flood", window=1000)
        for _ in range(2):
            server.send(b"\x5e" + codec.uint32(0) + codec.string(b"x" * 600))
        with pytest.raises(ProtocolError):
            await process.wait()


@pytest.mark.parametrize("max_packet", [0, 1])
async def test_row09_a_maximum_packet_of_nothing_ends_the_connection(max_packet: int, tmp_path: Path) -> None:
    def confirm(payload: bytes) -> bool:
        if payload[0] == ChannelOpen.number:
            server.send(ChannelOpenConfirmation(0, 0, 1000, max_packet).encode())
        return True

    async with asyncio.timeout(SECONDS), joined(tmp_path, password="x") as (conn, server):
        server.on_message = confirm
        with pytest.raises(ProtocolError):
            await conn.run("something")


async def test_a_command_without_exit_status_says_so(tmp_path: Path) -> None:
    def end(command: Command, line: bytes) -> bool:
        assert command.channel is not None
        asyncio.get_running_loop().call_soon(command.channel.close)
        return True

    async with asyncio.timeout(SECONDS), joined(tmp_path, password="x") as (conn, server):
        server.on_exec = end
        result = await conn.run("something")
        assert (result.exit_status, result.exit_signal) == (None, None)
        with pytest.raises(SSHError, match="ended without an exit status"):
            result.check_returncode()


async def test_row26_a_malformed_exit_status_ends_the_connection(tmp_path: Path) -> None:
    def end(command: Command, line: bytes) -> bool:
        server.send(ChannelRequest(0, "exit-status", False, b"\0").encode())
        return True

    async with asyncio.timeout(SECONDS), joined(tmp_path, password="x") as (conn, server):
        server.on_exec = end
        with pytest.raises(ProtocolError, match="ExitStatus"):
            await conn.run("something")


@pytest.mark.parametrize("rekeying", [True, False])
async def test_row12_a_server_that_takes_nothing_ends_the_connection_for_everybody(
    rekeying: bool, tmp_path: Path
) -> None:
    """One task sends more than can be kept, and gets the error; those that only wait must get it as well."""
    async with asyncio.timeout(SECONDS), joined(tmp_path, password="x") as (conn, server):
        server.on_exec = lambda command, line: True
        process = await conn.create_process("sleep")
        server.driver._want_read(False)
        server.driver._want_read = lambda on: None  # type: ignore[method-assign]
        if rekeying:
            conn._transport.rekey()
        waiting = asyncio.create_task(process.wait())
        with pytest.raises(ProtocolError, match=r"does not (read|finish)"):
            while True:
                process.send_signal("X" * 200)
        with pytest.raises(ProtocolError, match=r"does not (read|finish)"):
            await waiting
        assert conn.error is not None


async def test_channels_of_the_server_are_refused_and_requests_answered(tmp_path: Path) -> None:
    answers: list[bytes | None] = []
    async with asyncio.timeout(SECONDS), joined(tmp_path, password="x") as (conn, server):
        refused = Command(server)
        refused.channel = server.connection.open_channel("x11", b"", refused)
        server.connection.global_request("unknown@openssh.com", b"", on_reply=answers.append)
        server.connection.global_request("hostkeys-00@openssh.com", b"", on_reply=answers.append)
        assert (await conn.run("still fine")).exit_status == 0
        assert refused.is_closed and refused.channel.error is not None
        assert answers == [None, b""]


async def test_row12_a_server_that_makes_us_answer_and_never_reads_is_left(tmp_path: Path) -> None:
    async with asyncio.timeout(2 * SECONDS), joined(tmp_path, password="x") as (conn, server):
        server.driver._want_read(False)
        server.driver._want_read = lambda on: None  # type: ignore[method-assign]
        request = GlobalRequest("answer@me", True, b"x" * 16).encode()

        async def flood() -> None:
            while conn.error is None:
                for _ in range(2000):
                    server.send(request)
                await asyncio.sleep(0)

        flooding = asyncio.create_task(flood())
        await conn.wait_closed()
        assert isinstance(conn.error, ProtocolError)
        assert "does not read" in str(conn.error)
        flooding.cancel()
        await asyncio.wait((flooding,))


async def test_a_disconnect_is_reported_in_the_servers_words_and_escaped(tmp_path: Path) -> None:
    async with asyncio.timeout(SECONDS), joined(tmp_path, password="x") as (conn, server):
        server.on_exec = lambda command, line: True
        waiting = asyncio.create_task(conn.run("something"))
        while not server.commands:
            await asyncio.sleep(0.01)
        server.send(Disconnect(11, "going\x1b[31m down\n", "").encode())
        with pytest.raises(DisconnectedError) as caught:
            await waiting
        assert str(caught.value) == "peer disconnected: going\\033[31m down\\012 (code 11)"


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        return listener.accept()[0], client


@pytest.mark.parametrize("pair", [tcp_pair, socket.socketpair])
@pytest.mark.parametrize("before", [0, 40], ids=["at once", "after data"])
async def test_a_disconnect_that_lies_unread_when_sending_fails_is_told(
    pair: Callable[[], tuple[socket.socket, socket.socket]], before: int, tmp_path: Path
) -> None:
    """A server that closes with our data unread resets the connection; why it did is still in our socket."""
    ours, theirs = pair()
    server = Server(ours)
    server.driver.start()
    server.on_exec = lambda command, line: True
    async with asyncio.timeout(SECONDS), connect(**options(tmp_path, server, password="x"), sock=theirs) as conn:
        process = await conn.create_process("cat")
        for driver in (conn._driver, server.driver):  # busy with sending, and with something else
            driver._want_read(False)
            driver._want_read = lambda on: None  # type: ignore[method-assign]
        process.stdin.write(b"unread")
        await asyncio.sleep(0.05)
        channel = server.commands[0].channel
        assert channel is not None
        for _ in range(before):
            channel.write(b"x" * 1000)
        server.transport.disconnect(2, "Too many\x07 authentication failures")
        server.driver._flush()
        await asyncio.sleep(0.05)
        assert ours.fileno() == -1
        process.stdin.write(b"more")
        with pytest.raises(DisconnectedError) as caught:
            await process.wait()
        assert caught.value.code == 2
        assert "Too many\\007 authentication failures" in str(caught.value)


async def test_a_command_given_up_is_closed_although_it_reads_nothing(tmp_path: Path) -> None:
    """Its window is full of input, and opens no more: CLOSE must not wait behind the rest of that."""
    async with asyncio.timeout(SECONDS), joined(tmp_path, password="x") as (conn, server):
        server.on_exec = lambda command, line: True
        running = asyncio.create_task(conn.run("sleep", input=bytes(8_000_000), timeout=0.5))
        while not server.commands:
            await asyncio.sleep(0.01)
        server.commands[0].data = lambda stream, data: None  # type: ignore[method-assign]
        with pytest.raises(SSHTimeoutError):
            await running
        while conn._connection.channels:
            await asyncio.sleep(0.01)
        assert server.commands[0].is_closed
        server.on_exec = finish_at_once
        assert (await conn.run("still fine")).exit_status == 0


async def test_a_server_that_stops_answering_is_noticed(tmp_path: Path) -> None:
    settings = {"password": "x", "server_alive_interval": 0.1, "server_alive_count_max": 2}
    async with asyncio.timeout(SECONDS), joined(tmp_path, **settings) as (conn, server):
        server.on_exec = lambda command, line: True
        process = await conn.create_process("sleep")
        await asyncio.sleep(0.5)
        assert conn.error is None  # keepalives are answered
        server.on_message = lambda payload: True
        with pytest.raises(SSHTimeoutError, match="not responding"):
            await process.wait()


async def test_a_rekey_in_the_middle_of_streams(tmp_path: Path) -> None:
    def echo(command: Command, line: bytes) -> bool:
        def data(stream: int, data: bytes) -> None:
            assert command.channel is not None
            command.channel.consumed(len(data))
            command.channel.write(data)

        command.data = data  # type: ignore[method-assign]
        command.eof = command.finish  # type: ignore[method-assign]
        return True

    content = os.urandom(6_000_000)
    async with asyncio.timeout(SECONDS), joined(tmp_path, password="x", rekey_bytes=500_000) as (conn, server):
        server.on_exec = echo
        running = asyncio.create_task(conn.run("echo", input=content))
        for _ in range(5):
            await asyncio.sleep(0.01)
            server.transport.rekey()
            server.driver.wake()
        assert (await running).stdout == content


async def test_row17_a_host_key_that_changes_at_rekey_ends_the_connection(tmp_path: Path) -> None:
    async with asyncio.timeout(SECONDS), joined(tmp_path, password="x") as (conn, server):
        server.on_exec = lambda command, line: True
        process = await conn.create_process("sleep")
        server.transport.options.host_keys = (generate_private_key("ed25519"),)
        server.transport.rekey()
        server.driver.wake()
        with pytest.raises(ProtocolError, match="host key changed at rekey"):
            await process.wait()


async def test_a_server_is_told_why_although_its_first_packet_came_with_its_identification(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    server = Server(ours, ciphers=("aes256-ctr",))
    with ours:
        kexinit = server.transport._offer.kexinit(Role.SERVER, bytes(16), first=True).encode()
        padding = 4 + -(len(kexinit) + 9) % 8
        packet = bytes((padding,)) + kexinit + bytes(padding)
        ours.sendall(server.transport.identification + codec.string(packet))
        with pytest.raises(NegotiationError, match="no common cipher"):
            await connect(**options(tmp_path, server, ciphers=("aes128-ctr",)), sock=theirs)
        said = b""
        while data := ours.recv(65536):
            said += data
    assert b"no common cipher" in said  # in the clear, as everything before the first keys


async def test_an_agent_is_bound_to_the_session_before_it_names_its_keys(tmp_path: Path) -> None:
    """OpenSSH PROTOCOL.agent section 1: only then it can keep back those that may not be used for this host."""
    asked: list[int] = []

    async def agent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while length := await reader.read(4):
            request = await reader.readexactly(int.from_bytes(length, "big"))
            asked.append(request[0])
            writer.write(codec.string(b"\x0c\0\0\0\0" if request[0] == 11 else b"\x06"))
        writer.close()

    listening = await asyncio.start_unix_server(agent, tmp_path / "agent")
    settings = {"password": "x", "agent_socket": str(tmp_path / "agent")}
    async with asyncio.timeout(SECONDS), listening, joined(tmp_path, **settings):
        assert asked == [27, 11]


# --- during login ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        UserauthSuccess().encode(),
        UserauthFailure(("password",)).encode(),
        UserauthPkOk("ssh-ed25519", b"").encode(),
        ChannelOpen("session", 0, 1000, 1000).encode(),
        GlobalRequest("x", True).encode(),
        b"\x5e" + codec.uint32(0) + codec.string(b"data"),
    ],
)
async def test_row02_messages_before_the_service_was_accepted_are_fatal(message: bytes, tmp_path: Path) -> None:
    async with asyncio.timeout(SECONDS), serving() as (server, sock):
        server.on_ready = lambda: server.send(message)
        with pytest.raises(ProtocolError):
            await connect(**options(tmp_path, server, password="x"), sock=sock)


@pytest.mark.parametrize(
    "message",
    [
        UserauthSuccess().encode(),
        ChannelOpen("session", 0, 1000, 1000).encode(),
        GlobalRequest("x", True).encode(),
        b"\x5e" + codec.uint32(0) + codec.string(b"data"),
    ],
)
async def test_row02_nothing_comes_while_the_person_is_asked(message: bytes, tmp_path: Path) -> None:
    class Slow(Person):
        async def ask(self, prompt: str, *, echo: bool) -> str:
            server.send(message)
            await asyncio.sleep(SECONDS)
            return "x"

    async with asyncio.timeout(SECONDS), serving() as (server, sock):
        server.authorize = lambda attempt: Verdict.REFUSE
        with pytest.raises(ProtocolError):
            await connect(**options(tmp_path, server, prompter=Slow()), sock=sock)


def right_password(attempt: Attempt) -> Verdict:
    return Verdict.ACCEPT if attempt.password == "right" else Verdict.REFUSE


async def test_a_person_types_a_password(tmp_path: Path) -> None:
    person = Person("wrong", "right")
    lines: list[str] = []

    def log(level: int, text: str) -> None:
        if level == 0:
            lines.append(text)

    async with asyncio.timeout(SECONDS), serving() as (server, sock):
        server.authorize = right_password
        async with connect(**options(tmp_path, server, prompter=person, log=log), sock=sock) as conn:
            assert (await conn.run("x")).exit_status == 0
    assert person.prompts == [("ann@server.test's password: ", False)] * 2
    assert lines == ["Permission denied, please try again."]


async def test_failed_passwords_end_in_sshs_words(tmp_path: Path) -> None:
    person = Person("a", "b", "c", "d")
    async with asyncio.timeout(SECONDS), serving() as (server, sock):
        server.authorize = lambda attempt: Verdict.REFUSE
        with pytest.raises(AuthenticationError) as caught:
            await connect(**options(tmp_path, server, prompter=person), sock=sock)
    assert str(caught.value) == "ann@server.test: Permission denied (publickey,password)."
    assert len(person.prompts) == 3
    assert caught.value.tried == ("none", "password")


async def test_a_prompter_that_gives_up_ends_the_login_with_its_own_error(tmp_path: Path) -> None:
    class GivesUp(Person):
        async def ask(self, prompt: str, *, echo: bool) -> str:
            raise EOFError("no terminal")

    async with asyncio.timeout(SECONDS), serving() as (server, sock):
        server.authorize = lambda attempt: Verdict.REFUSE
        with pytest.raises(EOFError, match="no terminal"):
            await connect(**options(tmp_path, server, prompter=GivesUp()), sock=sock)


async def test_the_deadline_stands_still_while_a_person_thinks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The person takes ten times the deadline by the loop's clock, which is put forward meanwhile: nobody waits, and
    a slow machine has the whole deadline for the rest."""
    loop = asyncio.get_running_loop()
    now = loop.time
    thinking = 10 * SECONDS

    class Slow(Person):
        async def ask(self, prompt: str, *, echo: bool) -> str:
            monkeypatch.setattr(loop, "time", lambda: now() + thinking)
            await asyncio.sleep(0.01)  # what is due by now happens
            return await super().ask(prompt, echo=echo)

    async with asyncio.timeout(thinking + SECONDS), serving() as (server, sock):
        server.authorize = right_password
        settings = options(tmp_path, server, prompter=Slow("right"), login_timeout=SECONDS)
        async with connect(**settings, sock=sock) as conn:
            assert (await conn.run("x")).exit_status == 0


async def test_row19_banners_are_escaped(tmp_path: Path) -> None:
    person = Person()
    async with asyncio.timeout(SECONDS), serving() as (server, sock):

        def authorize(attempt: Attempt) -> Verdict:
            server.send(UserauthBanner("hello\r\n\x1b]0;title\x07\n").encode())
            return Verdict.ACCEPT

        server.authorize = authorize
        async with connect(**options(tmp_path, server, prompter=person), sock=sock):
            assert person.banners == ["hello\n\\033]0;title\\007\n"]


async def test_a_connection_lost_during_login_is_reported(tmp_path: Path) -> None:
    async with asyncio.timeout(SECONDS), serving() as (server, sock):

        def authorize(attempt: Attempt) -> Verdict:
            server.driver._sock.close()
            raise ProtocolError("gone")

        server.authorize = authorize
        with pytest.raises(ConnectionLostError):
            await connect(**options(tmp_path, server, password="x"), sock=sock)


@pytest.mark.parametrize("cut", [0.0, 0.05, 0.1, 0.2])
async def test_connecting_can_be_cancelled_at_any_moment(cut: float, tmp_path: Path) -> None:
    before = len(asyncio.all_tasks())
    async with asyncio.timeout(SECONDS), serving() as (server, sock):
        server.authorize = lambda attempt: Verdict.REFUSE
        person = Person(*["x"] * 3)
        task = asyncio.create_task(connect(**options(tmp_path, server, prompter=person), sock=sock)._connect())
        await asyncio.sleep(cut)
        task.cancel()
        with pytest.raises((asyncio.CancelledError, AuthenticationError)):
            await task
        assert sock.fileno() == -1
    assert len(asyncio.all_tasks()) == before


async def test_an_error_in_a_handler_ends_the_connection_and_is_reported(tmp_path: Path) -> None:
    def divide(data: bytes) -> bytes:
        raise ZeroDivisionError

    reported: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context["exception"]))
    async with asyncio.timeout(SECONDS), joined(tmp_path, password="x") as (conn, server):
        conn._connection.global_handlers["divide@test"] = divide
        server.send(GlobalRequest("divide@test", True).encode())
        await conn.wait_closed()
        assert str(conn.error) == "internal error: ZeroDivisionError"
        assert isinstance(reported[0], ZeroDivisionError)


async def test_closing_twice_and_using_a_closed_connection(tmp_path: Path) -> None:
    async with asyncio.timeout(SECONDS), joined(tmp_path, password="x") as (conn, _):
        conn.close()
        conn.close()
        await conn.wait_closed()
        await conn.wait_closed()
        for attempt in (conn.run("x"), conn.create_process("x"), conn.create_process(subsystem="sftp")):
            with pytest.raises(ChannelClosedError):
                await attempt
