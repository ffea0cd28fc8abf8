"""Specifications of forwards: -L, -R, -D and their directives, held against `ssh -G` of OpenSSH."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh.config.evaluate import load
from fastssh.config.forwards import Forward, Kind, forwards, parse, permit_remote_open
from fastssh.config.tokens import Local
from fastssh.errors import ConfigError
from fastssh.keys.endpoint import Endpoint

SSH = shutil.which("ssh")
LETTERS = {Kind.LOCAL: "-L", Kind.REMOTE: "-R", Kind.DYNAMIC: "-D"}

SPECIFICATIONS = (
    "8080:h:80", "8080:h:80:", "8080:", "8080", "0", "0:h:80", "h:8080", "b:8080:h:80", ":8080:h:80", "*:8080:h:80",
    "[::1]:80:[fe80::1]:22", "[::1]:1080", "8080:/q", "b:8080:/q", "/p:h:80", "/p:/q", "/p", r"a\:b:80:c:80",
    "[a:80:c:80", "[a]b:80:c:80", "8080:h:0", "8080:h:70000", "70000:h:1", "x:h:80", "a:b:80:c:80", "", "http:h:ssh",
    " 8080:h:80", "8080:[/q:r]", "${FORWARD}:h:80", "${NOT_SET}:h:80",
)  # fmt: skip
# ssh takes these for something, and does nothing of use with it.
REFUSED_HERE = {(Kind.DYNAMIC, text) for text in ("8080:/q", "/p:/q", "8080:[/q:r]")}


def _of_ssh(kind: Kind, specification: str) -> list[str] | None:
    assert SSH is not None
    command = [SSH, "-G", "-F", "none", LETTERS[kind], specification, "host"]
    environment = {**os.environ, "FORWARD": "1234"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    if done.returncode:
        return None
    return re.findall(rf"^{kind.value}forward (.*)$", done.stdout, re.MULTILINE)


@pytest.mark.skipif(SSH is None, reason="the OpenSSH client `ssh` is not installed")
def test_options_are_taken_as_ssh_takes_them() -> None:
    wanted = [(kind, text) for kind in Kind for text in SPECIFICATIONS]
    wanted = [*wanted[::3], (Kind.REMOTE, "8080"), (Kind.REMOTE, "[::1]:0"), (Kind.LOCAL, "[a]b:80:c:80")]
    with ThreadPoolExecutor(2) as pool:
        answers = pool.map(lambda each: _of_ssh(*each), wanted)
    for (kind, text), answer in zip(wanted, answers, strict=True):
        try:
            ours = [str(parse(kind, text, {"FORWARD": "1234"}))]
        except ConfigError:
            ours = None
        assert ours == (None if (kind, text) in REFUSED_HERE else answer), (kind, text)


@pytest.mark.parametrize(
    ("kind", "text", "listen", "target"),
    [
        (Kind.LOCAL, "8080:h:80", (None, 8080), ("h", 80)),
        (Kind.LOCAL, "*:8080:h:80", ("*", 8080), ("h", 80)),
        (Kind.LOCAL, ":8080:h:80", ("", 8080), ("h", 80)),
        (Kind.LOCAL, "[::1]:80:[fe80::1%eth0]:22", ("::1", 80), ("fe80::1%eth0", 22)),
        (Kind.LOCAL, "80:/run/a", (None, 80), "/run/a"),
        (Kind.LOCAL, "b:80:/run/a", ("b", 80), "/run/a"),
        (Kind.LOCAL, "/run/a:h:80", "/run/a", ("h", 80)),
        (Kind.LOCAL, r"/run/a\:b:[/run/c:d]", "/run/a:b", "/run/c:d"),
        (Kind.REMOTE, "0:h:80", (None, 0), ("h", 80)),
        (Kind.REMOTE, "1080", (None, 1080), None),
        (Kind.REMOTE, "[::]:1080", ("::", 1080), None),
        (Kind.DYNAMIC, "1080", (None, 1080), None),
        (Kind.DYNAMIC, "/run/socks", "/run/socks", None),
    ],
)
def test_a_specification_says_where_to_listen_and_where_to_go(
    kind: Kind, text: str, listen: object, target: object
) -> None:
    assert parse(kind, text) == Forward(kind, listen, target)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        (Kind.LOCAL, "8080", "Bad local forwarding specification '8080': it does not say where connections go"),
        (Kind.LOCAL, "0:h:1", "Bad local forwarding specification '0:h:1': port 0 to listen on"),
        (Kind.REMOTE, "8:h:0", "Bad remote forwarding specification '8:h:0': port 0 to connect to"),
        (Kind.REMOTE, "8:h:65536", "Bad remote forwarding specification '8:h:65536': bad port '65536'"),
        (
            Kind.DYNAMIC,
            "8:h:9",
            "Bad dynamic forwarding specification '8:h:9': it says where to listen, and nothing else",
        ),
        (Kind.LOCAL, "1:2:3:4:5", "Bad local forwarding specification '1:2:3:4:5': it has too many fields"),
        (Kind.LOCAL, f"80:/{'p' * 107}", None),
        (Kind.LOCAL, f"80:{'h' * 1025}:80", None),
        (Kind.LOCAL, "80:h\n:80", None),
        (Kind.LOCAL, "9" * 9000, None),
        (Kind.LOCAL, "80:h:80\\", None),
    ],
)  # fmt: skip
def test_a_bad_specification_is_one_clear_error(kind: Kind, text: str, reason: str | None) -> None:
    with pytest.raises(ConfigError) as error:
        parse(kind, text)
    assert str(error.value).startswith(f"Bad {kind.value} forwarding specification '")
    assert reason is None or str(error.value) == reason


HOSTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Co", "Zs", "Zl", "Zp", "Cf"),
                              exclude_characters="[]:/\\$"), min_size=1, max_size=30)  # fmt: skip
PORTS = st.integers(1, 65535)
PATHS = st.text(st.characters(codec="ascii", exclude_characters="\0]", exclude_categories=("Cc",)), max_size=60).map(
    lambda text: f"/{text}"
)


@given(st.none() | HOSTS | st.sampled_from(["", "*", "::1"]), PORTS, HOSTS | st.just("fe80::1"), PORTS)
def test_hosts_and_ports_survive_being_written(bind: str | None, port: int, host: str, host_port: int) -> None:
    written = ("" if bind is None else f"[{bind}]:") + f"{port}:[{host}]:{host_port}"
    assert parse(Kind.LOCAL, written) == Forward(Kind.LOCAL, (bind, port), (host, host_port))


@given(PATHS, PATHS)
def test_paths_survive_being_written(listen: str, target: str) -> None:
    assert parse(Kind.REMOTE, f"[{listen}]:[{target}]") == Forward(Kind.REMOTE, listen, target)
    escaped = ":".join(re.sub(r"[:\\\[]", r"\\\g<0>", path) for path in (listen, target))
    assert parse(Kind.LOCAL, escaped) == Forward(Kind.LOCAL, listen, target)


@given(st.sampled_from(Kind), st.text() | st.text(alphabet="[]:/\\*1h ${}%"))
def test_no_text_brings_anything_but_a_forward_or_a_config_error(kind: Kind, text: str) -> None:
    try:
        forward = parse(kind, text, {"h": "1"})
    except ConfigError:
        return
    assert forward.kind is kind
    forward.listen_address(), forward.target_address(), str(forward)


def test_addresses_are_what_the_library_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse(Kind.LOCAL, "80:h:80").listen_address() == ("localhost", 80)
    assert parse(Kind.DYNAMIC, "80").listen_address(gateway_ports=True) == ("", 80)
    assert parse(Kind.LOCAL, "b:80:h:80").listen_address(gateway_ports=True) == ("b", 80)
    assert parse(Kind.REMOTE, "80:h:80").listen_address(gateway_ports=True) == ("localhost", 80)
    assert parse(Kind.LOCAL, "run/a:h:80").listen_address() == f"{tmp_path}/run/a"
    assert parse(Kind.REMOTE, "80:run/a").target_address() == f"{tmp_path}/run/a"
    assert parse(Kind.REMOTE, "run/a:run/b").listen_address() == "run/a"  # the server's to resolve


def test_the_command_line_comes_first_and_each_forward_once(tmp_path: Path) -> None:
    local = Local("me", 1000, str(tmp_path), "box", {"DIR": "/run/x"})
    config = tmp_path / "config"
    lines = ["LocalForward 8080 h:80", "LocalForward ${DIR}/s [::1]:80", "RemoteForward 1080", "DynamicForward *:1081",
             "RemoteForward /run/%u.%h fe80%e:/run/x", "LocalForward 8080 [h]:80"]  # fmt: skip
    config.write_text("\n".join(lines[:4] + lines[5:]))
    settings = load("host", file=str(config), local=local)
    found = forwards(settings, [(Kind.DYNAMIC, "9"), (Kind.LOCAL, "8080:h:80")])
    assert [f"{each.kind.value} {each}" for each in found] == [
        "dynamic 9", "local 8080 [h]:80", "local /run/x/s [::1]:80", "remote 1080 [socks]:0", "dynamic [*]:1081",
    ]  # fmt: skip
    config.write_text("RemoteForward /run/%u.%h [fe80::1%eth0]:80")
    (forward,) = forwards(load("host", file=str(config), local=local))
    assert (forward.listen, forward.target) == ("/run/me.host", ("fe80::1%eth0", 80))
    config.write_text("LocalForward 80 h:80\nClearAllForwardings yes")
    assert forwards(load("host", file=str(config), local=local), [(Kind.DYNAMIC, "9")]) == ()


def test_a_bad_directive_is_an_error_with_its_place(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("\nLocalForward 80 h")
    local = Local("me", 1000, str(tmp_path), "box", {})
    with pytest.raises(ConfigError, match=r"config.*2.*Bad local forwarding specification '80:h'"):
        forwards(load("host", file=str(config), local=local))


def test_permit_remote_open(tmp_path: Path) -> None:
    local = Local("me", 1000, str(tmp_path), "box", {})
    config = tmp_path / "config"
    for text, permitted in (
        ("", None), ("PermitRemoteOpen any", None), ("PermitRemoteOpen none", ()),
        ("PermitRemoteOpen a:80 [::1]:*", (Endpoint("a", 80), Endpoint("::1", None))),
    ):
        config.write_text(text)
        assert permit_remote_open(load("host", file=str(config), local=local)) == permitted
