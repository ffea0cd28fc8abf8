"""Fixtures shared by all tests: real servers, keys, a home of our own; deadlines; and no silent skips in CI."""

from __future__ import annotations

import faulthandler
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import hypothesis
import pytest

from fastssh.config.evaluate import load
from tests.support import peers
from tests.support.agents import running_agent
from tests.support.peers import Keys, Peer
from tests.support.sftp_peers import Ours, local
from tests.support.watching import open_descriptors

T = TypeVar("T")

IN_CI = bool(os.environ.get("CI"))
TEST_SECONDS = int(os.environ.get("FASTSSH_TEST_SECONDS", "300"))  # a test that takes this long hangs

hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, print_blob=True)
hypothesis.settings.register_profile(
    "fuzz",
    deadline=None,
    print_blob=True,
    max_examples=int(os.environ.get("FASTSSH_FUZZ_EXAMPLES", "5000")),
    suppress_health_check=list(hypothesis.HealthCheck),
)
hypothesis.settings.load_profile("ci" if IN_CI else "default")


# Whoever starts the tests in the background or under nohup has these ignored, and so had every program that they start.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


# --- no skips in CI -----------------------------------------------------------------------------------------------


def _refuse_skip(report: Any) -> None:
    """But for what cannot be had on this machine, or as this user: see peers.NOT_HERE."""
    if IN_CI and report.skipped and not hasattr(report, "wasxfail") and peers.NOT_HERE not in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Any:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    _refuse_skip(report)
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            for peer in [value] if isinstance(value, Peer) else getattr(value, "started", ()):
                report.sections.append((f"log of {name} ({peer.log})", peer.log_tail()))
    return report


# --- names --------------------------------------------------------------------------------------------------------


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Values of bytes and long texts go by their argument's name and a number: they may hold keys made for this run,
    and processes that share the tests have to agree on what they are called."""
    return argname if isinstance(val, bytes) or (isinstance(val, str) and len(val) > 40) else None


# --- deadlines ----------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Any:
    """A test that hangs fails; one that cannot even be interrupted (native code) ends the run with all stacks shown."""
    if item.get_closest_marker("soak") or threading.current_thread() is not threading.main_thread():
        return (yield)

    def expired(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"{item.nodeid} took more than {TEST_SECONDS} s")

    previous = signal.signal(signal.SIGALRM, expired)
    signal.alarm(TEST_SECONDS)
    faulthandler.dump_traceback_later(2 * TEST_SECONDS, exit=True)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


# --- the environment ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home directory of the tests' own; no agent, no askpass program."""
    directory = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(directory))
        # Of this process's own connections the machine's ssh_config is no part either.
        patch.setitem(load.__kwdefaults__, "system_file", str(directory / "ssh_config"))
        for name in ("SSH_AUTH_SOCK", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "DISPLAY"):
            patch.delenv(name, raising=False)
        yield directory


# --- servers ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Throwaway host and user keys of all types."""
    return _or_skip(lambda: peers.make_keys(tmp_path_factory.mktemp("keys")))


def _or_skip(start: Callable[[], T]) -> T:
    try:
        return start()
    except peers.PeerMissing as missing:
        pytest.skip(str(missing))


def _session_peer(start: Callable[..., Peer]) -> Any:
    """A fixture: one server for the whole run."""

    @pytest.fixture(scope="session")
    def peer(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Iterator[Peer]:
        with _or_skip(lambda: start(tmp_path_factory.mktemp("server"), keys=keys)) as running:
            yield running

    return peer


def _sshd_internal(directory: Path, **options: Any) -> Peer:
    return peers.start_sshd(directory, sftp="internal", **options)


def _sshd_password(directory: Path, **options: Any) -> Peer:
    return peers.start_sshd(directory, home=directory / "home", **options)


def _fastsshd_as_sshd(directory: Path, *, sftp: str = "", sftp_arguments: str = "", **options: Any) -> Peer:
    """Started as start_sshd is. Where passwords of accounts are wanted, which take PAM, it is sshd all the same."""
    if "home" in options:
        return peers.start_sshd(directory, **options)
    return peers.start_fastsshd(directory, **{"Subsystem": f"sftp internal-sftp {sftp_arguments}".rstrip(), **options})


# What a client's tests meet where it does not matter whose server it is: ours, or with FASTSSH_TEST_SERVER=sshd a stock
# one. Both are also there under their own names.
START_SERVER: Callable[..., Peer] = {"sshd": peers.start_sshd, "fastsshd": _fastsshd_as_sshd}[
    os.environ.get("FASTSSH_TEST_SERVER", "fastsshd")
]
server = _session_peer(START_SERVER)
sshd = _session_peer(peers.start_sshd)
fastsshd = _session_peer(peers.start_fastsshd)
sshd_internal = _session_peer(_sshd_internal)
# Takes peers.PASSWORD as well; the account's home is peer.directory / "home".
sshd_password = _session_peer(_sshd_password)
dropbear = _session_peer(peers.start_dropbear)
asyncssh_server = _session_peer(peers.start_asyncssh)
paramiko_server = _session_peer(peers.start_paramiko)


class SshdFactory:
    """start_sshd(RekeyLimit="1M", ...) starts a server for one test; see peers.start_sshd."""

    start: Callable[..., Peer] = staticmethod(peers.start_sshd)

    def __init__(self, tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> None:
        self._directories, self._keys = tmp_path_factory, keys
        self.started: list[Peer] = []

    def __call__(self, **config: Any) -> Peer:
        peer = _or_skip(lambda: self.start(self._directories.mktemp("sshd"), keys=self._keys, **config))
        self.started.append(peer)
        return peer


class ServerFactory(SshdFactory):
    """The same for the server that ``server`` is."""

    start = staticmethod(START_SERVER)


class FastsshdFactory(SshdFactory):
    """The same for peers.start_fastsshd."""

    start = staticmethod(peers.start_fastsshd)


def _factory(kind: type[SshdFactory]) -> Any:
    @pytest.fixture
    def start(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Iterator[SshdFactory]:
        factory = kind(tmp_path_factory, keys)
        try:
            yield factory
        finally:
            for peer in factory.started:
                peer.stop()

    return start


start_server = _factory(ServerFactory)
start_sshd = _factory(SshdFactory)
start_fastsshd = _factory(FastsshdFactory)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[str]:
    """A stock ssh-agent without keys."""
    with running_agent(tmp_path) as path:
        yield path


@pytest.fixture
def agent_here(agent: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same, and $SSH_AUTH_SOCK names it in this process."""
    monkeypatch.setenv("SSH_AUTH_SOCK", agent)
    return agent



@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose name leaves room for that of a socket (108 bytes); tmp_path's may not."""
    with tempfile.TemporaryDirectory(prefix="fastssh-") as name:
        yield Path(name)


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Ours]:
    """A session of our SFTP server's, without a network, at home in tmp_path; it leaves no descriptor behind."""
    before = open_descriptors()
    with local(tmp_path) as session:
        yield session
    assert open_descriptors() == before
