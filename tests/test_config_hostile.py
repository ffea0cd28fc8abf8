"""Whatever stands in a configuration: settings come of it, or one ConfigError that names file and line; and it ends."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fastssh.config import dump, lexer, reading
from fastssh.config.client import client_options
from fastssh.config.directives import DIRECTIVES
from fastssh.config.evaluate import load
from fastssh.config.session import (
    class_of_service,
    control,
    escape_character,
    forwarded_agent,
    known_hosts_command,
    local_command,
    refused_tunnel,
)
from fastssh.config.settings import MOST_ENTRIES, Settings
from fastssh.config.tokens import Local
from fastssh.errors import ConfigError

TOKENS = dict.fromkeys("fHIKt", "x")
USES: tuple[Callable[[Settings], object], ...] = (
    client_options, dump.lines, lambda found: class_of_service(found, interactive=True), control,
    escape_character, forwarded_agent, lambda found: known_hosts_command(found, TOKENS), local_command, refused_tunnel,
)  # fmt: skip
SHARED = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def local(tmp_path: Path) -> Local:
    (tmp_path / ".ssh").mkdir(mode=0o700)
    return Local("me", 1000, str(tmp_path), "box.example", {"X": "value"})


def hold_against(text: str, local: Local) -> None:
    """Loads ``text`` and uses all of it."""
    path = Path(local.home) / "tested"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    names = re.compile(rf"{re.escape(str(path))}:[1-9][0-9]*: .")
    try:
        found = load("host", file=str(path), local=local, resolve=lambda name, family: "")
    except ConfigError as error:
        assert names.match(str(error)) and "\n" not in str(error), str(error)
        return
    for use in USES:
        try:
            use(found)
        except ConfigError as error:
            assert names.match(str(error)) and "\n" not in str(error), (use, str(error))


CHARACTERS = st.characters(blacklist_categories=["Cs"])
WORDS = st.one_of(
    st.sampled_from((
        *("yes", "no", "none", "auto", "ask", "any", "~/x", "%h", "%%", "%C", "%z", "${X}", "${NOTSET}", "${", "a,b"),
        *("10", "1h", "-1", "99999999999", "0x10", "+aes128-ctr", "-*", "^x", "=", "==", '"', "'", "\\", '"a b"', "#"),
        *("*", "a:1", "[::1]:2", "1:2:3:4", "/a/b", "u@h:22", "ssh://h/", "ssh://%zz", "1G", "af21", "A=b", "-A"),
        *("host", "user", "localuser", "all", "final", "canonical", "tagged", "::1", "127.1", "\u00e9", "\x07"),
    )),
    st.text(CHARACTERS, max_size=8),
)  # fmt: skip
KEYWORDS = st.sampled_from((*DIRECTIVES, "host", "match", "Include", "Protocol", "nonsense", "#"))
LINES = st.builds(lambda keyword, parting, words: f"{keyword}{parting}{' '.join(words)}", KEYWORDS,
                  st.sampled_from((" ", "=", " = ", "\t", "")), st.lists(WORDS, max_size=3))  # fmt: skip


def harmless(text: str) -> str:
    """Without what would run a program, or look through the machine's files, as it should."""
    return re.sub("(?i)exec", "user", re.sub(r"(?im)^(\W*include\W.*)[*?\[]", r"\1", text))


@SHARED
@given(st.lists(LINES, max_size=6).map("\n".join).map(harmless))
@example("HostName -x")
@example("HostName %h;%h")
@example("User ${NOTSET}")
@example("User x\\")
@example("ProxyJump a;b")
@example("ProxyJump host")
@example("ProxyCommand x %z")
@example("IdentityFile ~nosuchuser-here/x")
@example("PreferredAuthentications gssapi-with-mic")
@example("PasswordAuthentication no\nPubkeyAuthentication no\nKbdInteractiveAuthentication no")
@example("LocalForward 1 2")
@example("LocalForward /%z /x")
@example("ControlPath ~nosuchuser-here/x")
@example("Ciphers nonsense")
@example("RefuseConnection go away")
@example("HostKeyAlias a;b\nUserKnownHostsFile %k")
@example("IdentityAgent ~nosuchuser-here/x\nForwardAgent yes")
@example("RemoteCommand %z")
@example("CertificateFile ${NOTSET}")
@example("Tunnel yes\nExitOnForwardFailure yes")
@example("Match localnetwork x")
@example("CanonicalizeHostname yes\nCanonicalDomains a\nHostName b.")
def test_directives_with_any_arguments_give_settings_or_name_the_line(local: Local, text: str) -> None:
    hold_against(text, local)


@SHARED
@given(st.text(CHARACTERS | st.sampled_from('\n\t "\'=#%\\'), max_size=200).map(harmless))
@example("\0")
@example("Port 1\nUser a\0b\n")
@example('"')
@example('"" x')
@example("=")
@example("Port")
@example("\udcff\udcfe x")
def test_any_text_gives_settings_or_names_the_line(local: Local, text: str) -> None:
    hold_against(text, local)


LARGE = lexer.LINE_LIMIT - 10


@pytest.mark.parametrize("text", [
    "User " + "a" * LARGE, 'User "' + '\\"' * (LARGE // 2), "Host " + "*a" * (LARGE // 2), "#" * LARGE, "\n" * LARGE,
    "Host " + "!* " * (LARGE // 3), "ServerAliveInterval " + "1s" * (LARGE // 2), "PermitRemoteOpen " + "a" * LARGE,
    "ProxyJump " + "a," * (LARGE // 2), "SendEnv " + " ".join(map(str, range(LARGE // 8))), "HostName " + "%h" * LARGE,
    "IgnoreUnknown " + "*a*b" * 200 + "\n" + "a" * 500 + " y\n", "LocalForward " + ":" * LARGE + " a:1",
    "Ciphers " + "a," * (LARGE // 2), "IPQoS " + "0" * LARGE, "Match host " + "*," * (LARGE // 2),
    "UserKnownHostsFile " + "%" * LARGE, "User " + "%u" * (LARGE // 2), "EscapeChar " + "^" * LARGE, "Port " * 9000,
], ids=lambda text: text[:12].strip())  # fmt: skip
def test_lines_of_the_largest_size_end_like_small_ones(local: Local, text: str) -> None:
    hold_against(text[:LARGE], local)


def test_lines_and_files_have_an_end(local: Local) -> None:
    path = write(local, "main", f"Port 1\nUser {'a' * lexer.LINE_LIMIT}\n")
    with pytest.raises(ConfigError, match=f"main:2: the line is longer than {lexer.LINE_LIMIT} characters"):
        load("h", file=str(path), local=local)
    many = "Port 1\nHost a\n" * 10_000
    assert load("h", file=str(write(local, "main", many + "Host h\nUser last\n")), local=local).user == "last"


def test_what_accumulates_has_an_end(local: Local) -> None:
    lines = "".join(f"IdentityFile /k{number}\n" for number in range(MOST_ENTRIES + 1))
    path = Path(local.home) / "many"
    path.write_text(lines)
    with pytest.raises(ConfigError, match=rf"many:{MOST_ENTRIES + 1}: IdentityFile: more than {MOST_ENTRIES} of them"):
        load("h", file=str(path), local=local)
    path.write_text(lines.rpartition("IdentityFile")[0])
    assert len(load("h", file=str(path), local=local).words("IdentityFile") or ()) == MOST_ENTRIES


# -- files (row 24) ----------------------------------------------------------------------------------------------------


def write(local: Local, name: str, contents: str | bytes, mode: int = 0o600) -> Path:
    path = Path(local.home) / ".ssh" / name
    path.write_bytes(contents.encode() if isinstance(contents, str) else contents)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(("mode", "refused"), [
    (0o600, False), (0o644, False), (0o400, False), (0o602, True), (0o666, True), (0o777, True),
])
def test_row24_an_included_file_that_others_could_write_is_refused(local: Local, mode: int, refused: bool) -> None:
    included = write(local, "included", "Port 7\n", mode)
    path = write(local, "main", "Include included\n", 0o666)  # a file that -F names may be anybody's, as with ssh
    if refused:
        with pytest.raises(ConfigError, match=rf"{included}: bad owner or permissions"):
            load("h", file=str(path), local=local)
    else:
        assert load("h", file=str(path), local=local).port == 7


def test_row24_includes_are_small_regular_files_too(local: Local) -> None:
    folder = Path(local.home) / ".ssh"
    os.mkfifo(folder / "fifo", 0o600)
    (folder / "folder").mkdir()
    with write(local, "large", b"").open("wb") as file:
        file.truncate(lexer.FILE_LIMIT + 1)
    write(local, "nul", b"Port 1\nUser a\0b\n")
    os.symlink("/dev/zero", folder / "zero")
    os.symlink("loop", folder / "loop")
    for name, reason in {
        "fifo": "not a regular file", "folder": "not a regular file", "zero": "not a regular file",
        "large": "larger than", "nul": r"nul:2: holds a NUL byte", "loop": "Too many levels of symbolic links",
    }.items():  # fmt: skip
        with pytest.raises(ConfigError, match=reason):
            load("h", file=str(write(local, "main", f"Include {name}\n")), local=local)
    os.symlink("missing", folder / "dangling")
    assert load("h", file=str(write(local, "main", "Include dangling missing*\nPort 8\n")), local=local).port == 8


def test_row24_the_users_own_file_is_checked_in_the_same_way(local: Local) -> None:
    config = Path(local.home) / ".ssh" / "config"
    os.mkfifo(config, 0o600)
    with pytest.raises(ConfigError, match="not a regular file"):
        load("h", local=local, system_file="/nonexistent")
    config.unlink()
    config.symlink_to(write(local, "elsewhere", "Port 9\n"))  # a link to one's own file is what dotfiles are
    assert load("h", local=local, system_file="/nonexistent").port == 9
    write(local, "elsewhere", "Port 9\n", 0o622)
    with pytest.raises(ConfigError, match="bad owner or permissions"):
        load("h", local=local, system_file="/nonexistent")


def test_row24_all_files_together_have_a_size(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "TOTAL_LIMIT", 1000)
    write(local, "part", "#" * 400)
    assert load("h", file=str(write(local, "main", "Include part part\nPort 3\n")), local=local).port == 3
    with pytest.raises(ConfigError, match="part: more than 1000 characters"):
        load("h", file=str(write(local, "main", "Include part part part\n")), local=local)


@pytest.mark.parametrize("name", ["-oProxyCommand=x", "a b", "a;b", "$(x)", "a`b`", "a\nb", "a\x1b[2J", "a,b;", "|a"])
def test_row24_host_names_are_checked_wherever_they_come_from(local: Local, name: str) -> None:
    for typed in (name, ""):
        with pytest.raises(ConfigError):
            load(typed, file="none", local=local)
    name = name.replace("\n", " ")
    for text in (f"HostName '{name}'\n", f"HostKeyAlias '{name}'\nUserKnownHostsFile /%k\n", f"ProxyJump {name}\n"):
        path = write(local, "main", text)
        with pytest.raises(ConfigError, match=rf"{path}:[12]: "):
            client_options(load("host", file=str(path), local=local))
