"""authorized_keys: who may log in and what each may do; every line that is not understood authorises nobody."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh.errors import KeyFormatError
from fastssh.files import check_owner_and_modes
from fastssh.keys.authorized_keys import (
    MAX_AUTHORIZED_KEYS_FILE,
    AuthorizedKeys,
    load_authorized_keys,
    parse_authorized_keys,
)
from fastssh.keys.files import MAX_NOTES
from fastssh.keys.key_options import (
    MAX_ENDPOINTS,
    MAX_ENVIRONMENT,
    MAX_HOST,
    RESTRICTED,
    TUNNEL_ANY,
    Endpoint,
    KeyOptions,
    parse_options,
)
from fastssh.keys.private import generate_private_key
from fastssh.wire.codec import string
from fastssh.wire.text import printable
from tests.support import keygen

ED = generate_private_key("ed25519").public
ED2 = generate_private_key("ed25519").public
EC = generate_private_key("ecdsa").public
RSA = generate_private_key("rsa", 1024).public
ED_LINE, ED2_LINE, EC_LINE, RSA_LINE = (key.line() for key in (ED, ED2, EC, RSA))
NOW = 1_800_000_000.0
FLAGS = tuple(field.name for field in fields(KeyOptions) if isinstance(field.default, bool))
PERMISSIONS = tuple(name for name in FLAGS if name.startswith("permit_"))


def options(text: str) -> KeyOptions:
    """The options of a line that must be good; a second line shows that its quotes did not reach further."""
    found = parse_authorized_keys(f"{text} {ED_LINE} me\n{EC_LINE}\n")
    assert not found.notes
    (entry,) = [*found.find(ED), *found.find_authority(ED)]
    assert entry.comment == "me"
    assert len(found.find(EC)) == 1
    return entry.options


def reason(text: str) -> str:
    """Why a line with these options is dropped; the lines around it must stay."""
    found = parse_authorized_keys(f"{ED2_LINE}\n{text} {ED_LINE}\n{EC_LINE}\n", "keys")
    assert [entry.where for entry in found.keys] == ["keys:1", "keys:3"]
    assert not found.find(ED)
    assert not found.authorities
    (note,) = found.notes
    assert str(note) == f"keys:2: {note.reason}"
    assert note.reason.isprintable()
    return note.reason


# --- lines --------------------------------------------------------------------------------------------------------


def test_keys_are_found_by_line_in_the_order_of_the_file() -> None:
    text = f"# comment\n\n  \t\n  # {RSA_LINE}\n{ED_LINE} a comment  here\n\t no-pty\t {EC_LINE}\npty {ED_LINE}\n"
    found = parse_authorized_keys(text, "name")
    assert [(entry.where, entry.key, entry.comment) for entry in found.keys] == [
        ("name:5", ED, "a comment  here"),
        ("name:6", EC, ""),
        ("name:7", ED, ""),
    ]
    assert [entry.where for entry in found.find(ED)] == ["name:5", "name:7"]
    assert found.find(EC)[0].options == KeyOptions(permit_pty=False)
    assert found.find(RSA) == found.find(ED2) == []
    assert found.notes == found.authorities == ()


@pytest.mark.parametrize(
    "line",
    [ED_LINE, f"{ED_LINE}\r", f"{ED_LINE} \t\r", f"\t {ED_LINE}", ED_LINE.replace(" ", " \t "), f"pty  \t{ED_LINE}\r"],
)
def test_blanks_and_carriage_returns_around_fields_do_no_harm(line: str) -> None:
    for data in (line, f"{line}\n", f"\r\n{line}\n".encode()):
        (entry,) = parse_authorized_keys(data).find(ED)
        assert entry.options == KeyOptions()
        assert entry.comment == ""


def test_lines_end_with_newlines_and_nothing_else() -> None:
    for separator in ("\x0b", "\x0c", "\r", "\x1c", "\u2028", "\x85"):
        assert parse_authorized_keys(f"# comment{separator}{ED_LINE}\n") == AuthorizedKeys()
        assert not parse_authorized_keys(f"{EC_LINE} comment{separator}{ED_LINE}\n").find(ED)


def test_only_blanks_part_the_fields() -> None:
    for blank in ("\u00a0", "\x0b", "\r", "\u2003"):
        assert not parse_authorized_keys(ED_LINE.replace(" ", blank)).keys
        assert not parse_authorized_keys(f"pty{blank}{ED_LINE}").keys


def test_text_that_is_not_utf8_is_read() -> None:
    data = b'environment="NAME=gr\xfc\xdfe" ' + ED_LINE.encode() + b" J\xfcrgen\n"
    (entry,) = parse_authorized_keys(data).keys
    assert entry.comment.encode("utf-8", "surrogateescape") == b"J\xfcrgen"
    assert entry.options.environment[0][1].encode("utf-8", "surrogateescape") == b"gr\xfc\xdfe"


SK = "webauthn-sk-ssh-ed25519@openssh.com"
SK_BLOB = base64.b64encode(string(SK.encode()) + string(bytes(32)) + string(b"ssh:")).decode()
BAD_LINES = {
    "ssh-ed25519": "key type and key",
    "ssh-ed25519 AAAA": "base64",
    "ssh-ed25519 ????": "base64",
    ED_LINE[:-4]: "malformed",
    f"ssh-rsa {ED_LINE.split()[1]}": "type named",
    f"{SK} {SK_BLOB}": "security keys are not supported",
    f"pty {SK} {SK_BLOB}": "security keys are not supported",
    f"ssh-dss {base64.b64encode(string(b'ssh-dss')).decode()}": "DSA",
    ED_LINE.replace("ssh-ed25519", "ssh-\x1b[31m"): "unknown option",
    "pty": "key type and key",
    "pty ssh-ed25519": "key type and key",
    f"pty pty {ED_LINE}": "base64",
    f"no-pty, no-user-rc {ED_LINE}": "empty",
    f"host {ED_LINE}": "unknown option host",
    f"@cert-authority * {ED_LINE}": "unknown option",
    f"{ED_LINE}\0": "NUL",
    f'command="a\0b" {ED_LINE}': "NUL",
    "1024 35 1234567890": "unknown option",  # SSH 1
    "\x00\x01 \udcff \udcfe": "NUL",
    "\ufeff" + ED_LINE: "unknown option",
}


@pytest.mark.parametrize("line", list(BAD_LINES))
def test_a_line_that_cannot_be_read_is_noted_and_hides_no_other(line: str) -> None:
    found = parse_authorized_keys(f"{ED2_LINE}\n{line}\n{EC_LINE}\n", "keys")
    assert [entry.key for entry in found.keys] == [ED2, EC]
    (note,) = found.notes
    assert str(note).startswith("keys:2: ")
    assert BAD_LINES[line] in note.reason
    assert str(note).isprintable()


def test_row05_a_certificate_in_the_file_authorises_nobody(tmp_path: Path) -> None:
    authority, path = (keygen.make_key(tmp_path / name, "ed25519") for name in ("authority", "id"))
    keygen.run("-q", "-s", authority, "-I", "id", "-n", "user", f"{path}.pub", home=tmp_path)
    found = parse_authorized_keys(Path(f"{path}-cert.pub").read_bytes() + Path(f"{path}.pub").read_bytes(), "keys")
    assert [entry.where for entry in found.keys] == ["keys:2"]
    assert "certificates" in found.notes[0].reason


def test_notes_of_a_file_of_bad_lines_are_few() -> None:
    found = parse_authorized_keys("bad\n" * (3 * MAX_NOTES) + ED_LINE)
    assert len(found.notes) == MAX_NOTES + 1
    assert found.notes[-1].line == MAX_NOTES + 1
    assert len(found.find(ED)) == 1


@pytest.mark.parametrize(
    "text",
    ["a" * 1_000_000, '\\"' * 500_000, "\\" * 1_000_000 + "a", ", \t#" * 250_000],
    ids=["plain", "quotes", "backslashes", "separators"],
)
def test_lines_may_be_very_long(text: str) -> None:
    assert options(f'command="{text}"').command == text.replace('\\"', '"')
    assert "quotes" in reason(f'command="{text}')


def test_only_the_lines_of_one_key_are_read_where_asked() -> None:
    text = f"bad\nno-pty {ED_LINE}\n{EC_LINE}\nbad {ED_LINE}\ncert-authority {ED_LINE}\n"
    whole, part = parse_authorized_keys(text), parse_authorized_keys(text, only=ED)
    assert part.find(ED) == whole.find(ED)
    assert part.find_authority(ED) == whole.find_authority(ED)
    assert len(part.find(ED)) == len(part.find_authority(ED)) == 1
    assert not part.find(EC)
    assert [note.line for note in part.notes] == [4]
    assert parse_authorized_keys(text, only=RSA) == AuthorizedKeys()


# --- options ------------------------------------------------------------------------------------------------------

UNTIL_2030 = datetime(2030, 1, 31, tzinfo=UTC).timestamp()
GOOD_OPTIONS = {
    "agent-forwarding": KeyOptions(),
    "no-agent-forwarding": KeyOptions(permit_agent_forwarding=False),
    "port-forwarding": KeyOptions(),
    "no-port-forwarding": KeyOptions(permit_port_forwarding=False),
    "pty": KeyOptions(),
    "no-pty": KeyOptions(permit_pty=False),
    "user-rc": KeyOptions(),
    "no-user-rc": KeyOptions(permit_user_rc=False),
    "X11-forwarding": KeyOptions(),
    "no-X11-forwarding": KeyOptions(permit_x11_forwarding=False),
    "NO-x11-FORWARDING": KeyOptions(permit_x11_forwarding=False),
    "touch-required": KeyOptions(),
    "no-touch-required": KeyOptions(require_touch=False),
    "verify-required": KeyOptions(require_verify=True),
    "no-verify-required": KeyOptions(),
    "no-pty,pty": KeyOptions(),
    "pty,no-pty,no-pty": KeyOptions(permit_pty=False),
    "restrict": RESTRICTED,
    "cert-authority": KeyOptions(cert_authority=True),
    'cert-authority,principals="a"': KeyOptions(cert_authority=True, principals=("a",)),
    'principals="a,B c,d",cert-authority': KeyOptions(cert_authority=True, principals=("a", "B c", "d")),
    'command="dump /home"': KeyOptions(command="dump /home"),
    'COMMAND="a",No-Pty': KeyOptions(command="a", permit_pty=False),
    'command=""': KeyOptions(command=""),
    'command="restrict,no-pty"': KeyOptions(command="restrict,no-pty"),
    'environment="A=1",environment="b_2=x=\\"y\\""': KeyOptions(environment=(("A", "1"), ("b_2", 'x="y"'))),
    'environment="A=1",environment="B=",environment="A=2"': KeyOptions(environment=(("A", "1"), ("B", ""))),
    'environment="a=1",environment="A=2"': KeyOptions(environment=(("a", "1"), ("A", "2"))),
    'expiry-time="20300131Z"': KeyOptions(expires=UNTIL_2030),
    'expiry-time="203001311200Z"': KeyOptions(expires=UNTIL_2030 + 43200),
    'expiry-time="20300131120001z"': KeyOptions(expires=UNTIL_2030 + 43201),
    'expiry-time="20400101Z",expiry-time="20300131Z",expiry-time="20350101Z"': KeyOptions(expires=UNTIL_2030),
    'from="*.example,!bad.example,192.0.2.0/24,2001:db8::1"': KeyOptions(
        sources=(("*.example", "!bad.example", "192.0.2.0/24", "2001:db8::1"),)
    ),
    'permitopen="192.0.2.1:80",permitopen="[2001:db8::1]:*"': KeyOptions(
        permit_open=((Endpoint("192.0.2.1", 80), Endpoint("2001:db8::1", None)),)
    ),
    'permitopen="*:22"': KeyOptions(permit_open=((Endpoint("*", 22),),)),
    'permitlisten="8080",permitlisten="localhost:1",permitlisten="[::1]:65535",permitlisten="*"': KeyOptions(
        permit_listen=((Endpoint("*", 8080), Endpoint("localhost", 1), Endpoint("::1", 65535), Endpoint("*", None)),)
    ),
    'permitlisten=":22"': KeyOptions(permit_listen=((Endpoint("", 22),),)),
    'tunnel="0"': KeyOptions(tunnel=0),
    'tunnel="2147483645"': KeyOptions(tunnel=TUNNEL_ANY - 2),
    'tunnel="Any"': KeyOptions(tunnel=TUNNEL_ANY),
    'tunnel="1",tunnel="2"': KeyOptions(tunnel=2),
}


@pytest.mark.parametrize("text", list(GOOD_OPTIONS))
def test_options_say_what_is_permitted(text: str) -> None:
    assert options(text) == GOOD_OPTIONS[text]
    assert parse_options(text) == (GOOD_OPTIONS[text], "")


BAD_OPTIONS = {
    "unheard-of": "unknown option unheard-of",
    'unheard-of="value"': "unknown option unheard-of",
    "pty,unheard-of,restrict": "unknown option",
    "restricted": "unknown option",
    "restric": "unknown option",
    "no-restrict": "unknown option",
    "no-cert-authority": "unknown option",
    'no-command="a"': "unknown option",
    "no-no-pty": "unknown option",
    "re\u017ftrict": "unknown option",  # becomes "restrict" in Unicode's lower case of upper case
    "user-rc\u212a": "unknown option",
    "pty;no-pty": "unknown option",
    "'pty'": "unknown option",
    '"pty"': "empty",
    ",pty": "empty",
    "pty,": "empty",
    "pty,,restrict": "empty",
    '="a"': "empty",
    'pty="yes"': "takes no value",
    "pty=": "takes no value",
    "command": "needs a value",
    "from": "needs a value",
    "command=": "quotes",
    "command=a": "quotes",
    "command='a'": "quotes",
    'command ="a"': "needs a value",
    'command= "a"': "quotes",
    'command="a': "quotes",
    'command="a\\"': "quotes",
    'command="a"b': "comma",
    'command="a""b"': "comma",
    'command="a";no-pty': "comma",
    'command="a",command="a"': "command: given twice",
    'from="*",from="*"': "from: given twice",
    'cert-authority,principals="a",principals="b"': "principals: given twice",
    'principals="a"': "needs cert-authority",
    'cert-authority,principals=""': "empty",
    'cert-authority,principals="a,,b"': "empty",
    'from=""': "empty",
    'from="192.0.2.1,"': "empty",
    'from="192.0.2.1/24"': "not an address",
    'from="*,!10.0.0.0/33"': "not an address",
    'from="*, !10.0.0.1"': "misplaced",
    'environment=""': "NAME=value",
    'environment="A"': "NAME=value",
    'environment="=a"': "NAME=value",
    'environment="A B=1"': "NAME=value",
    'environment="A-B=1"': "NAME=value",
    'environment="\u00c4=1"': "NAME=value",
    'environment="\u0661=1"': "NAME=value",
    'expiry-time=""': "not a time",
    'expiry-time="2030"': "not a time",
    'expiry-time="20300230Z"': "not a time",
    'expiry-time="20301301Z"': "not a time",
    'expiry-time="00000101Z"': "not a time",
    'expiry-time="2030010124"': "not a time",
    'expiry-time="203001012400Z"': "not a time",
    'expiry-time="2030-01-01"': "not a time",
    'expiry-time="20300101Y"': "not a time",
    'expiry-time=" 20300101"': "not a time",
    'expiry-time="\u0662\u0660\u0663\u0660\u0660\u0661\u0660\u0661"': "not a time",
    'permitopen=""': "host and a port",
    'permitopen="host"': "host and a port",
    'permitopen="22"': "host and a port",
    'permitopen="host:"': "host and a port",
    'permitopen="host:0"': "host and a port",
    'permitopen="host:65536"': "host and a port",
    'permitopen="host:-1"': "host and a port",
    'permitopen="host: 22"': "host and a port",
    'permitopen="host:22,other:22"': "host and a port",
    'permitopen="host/22"': "host and a port",
    'permitopen="2001:db8::1:22"': "host and a port",
    'permitopen="[2001:db8::1]"': "host and a port",
    'permitopen="[2001:db8::1:22"': "host and a port",
    'permitopen="[host]x:22"': "host and a port",
    f'permitopen="{"a" * (MAX_HOST + 1)}:22"': "longer",
    'permitlisten=""': "host and a port",
    'permitlisten="0"': "host and a port",
    'permitlisten="localhost"': "host and a port",
    'permitlisten="[::1]"': "host and a port",
    'tunnel=""': "tunnel device",
    'tunnel="-1"': "tunnel device",
    'tunnel="tun0"': "tunnel device",
    'tunnel="2147483646"': "tunnel device",
    'tunnel="99999999999"': "tunnel device",
    'tunnel="\u0661"': "tunnel device",
}


@pytest.mark.parametrize("text", list(BAD_OPTIONS))
def test_row04_an_option_that_is_not_understood_authorises_nobody(text: str) -> None:
    assert BAD_OPTIONS[text] in reason(text)


def test_row04_restrict_takes_everything_and_what_follows_gives_back() -> None:
    assert len(PERMISSIONS) == 6
    assert not any(getattr(RESTRICTED, name) for name in PERMISSIONS)
    assert options("pty,agent-forwarding,RESTRICT") == RESTRICTED
    assert options("restrict,pty") == replace(RESTRICTED, permit_pty=True)
    assert options("restrict,pty,user-rc,no-pty") == replace(RESTRICTED, permit_user_rc=True)
    assert options("restrict,pty,restrict") == RESTRICTED
    everything = "agent-forwarding,port-forwarding,pty,user-rc,x11-forwarding"
    assert options(f"restrict,{everything}") == KeyOptions(permit_tunnel=False)
    # an option that restricts something gives nothing back
    granted = options('restrict,permitopen="a:1",permitlisten="1",tunnel="0",command="c"')
    assert not granted.may_open("a", 1)
    assert not granted.may_listen("localhost", 1)
    assert not granted.permit_tunnel


QUOTING = {
    r'"a\"b"': 'a"b',
    r'"\""': '"',
    r'"\"\""': '""',
    r'"a\b"': r"a\b",
    r'"a\\b"': r"a\\b",
    r'"\n"': r"\n",
    r'"a\\"b"': r'a\"b',  # the first backslash is itself, the second quotes
    r'"a\\\"b"': r'a\\"b',
    '" a\tb  c "': " a\tb  c ",
    '"a,no-pty"': "a,no-pty",
    "\"it's $HOME `#`\"": "it's $HOME `#`",
    f'"{ED2_LINE}"': ED2_LINE,
    '"gr\u00fc\u00dfe"': "gr\u00fc\u00dfe",
}


@pytest.mark.parametrize("quoted", list(QUOTING))
def test_quotes_are_read_as_sshd_reads_them(quoted: str) -> None:
    assert options(f"command={quoted}").command == QUOTING[quoted]
    both = options(f'no-pty,command={quoted},from="*"')
    assert both == KeyOptions(permit_pty=False, command=QUOTING[quoted], sources=(("*",),))


def test_a_quote_that_does_not_end_takes_the_rest_of_its_line_and_no_more() -> None:
    found = parse_authorized_keys(f'command="a\\" {ED_LINE}\nno-pty,command="b\\\\" {ED2_LINE}\n{EC_LINE} "\n')
    assert [entry.key for entry in found.keys] == [EC]
    assert [note.line for note in found.notes] == [1, 2]


def test_options_may_be_repeated_up_to_a_bound() -> None:
    assert len(options(",".join(['permitopen="a:1"'] * MAX_ENDPOINTS)).permit_open[0]) == MAX_ENDPOINTS
    assert "more than" in reason(",".join(['permitopen="a:1"'] * (MAX_ENDPOINTS + 1)))
    variables = [f'environment="A{number}=1"' for number in range(MAX_ENVIRONMENT + 1)]
    assert len(options(",".join(variables[1:])).environment) == MAX_ENVIRONMENT
    assert "more than" in reason(",".join(variables))


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "EST5EDT,M3.2.0,M11.1.0")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("new_york")
@pytest.mark.parametrize(("text", "hours"), [("20300115", 5), ("20300715", 4), ("20300115Z", 0), ("20300715UTC", 0)])
def test_expiry_times_are_local_unless_marked(text: str, hours: int) -> None:
    midnight = datetime(2030, int(text[4:6]), 15, tzinfo=UTC).timestamp()
    assert options(f'expiry-time="{text}"').expires == midnight + hours * 3600


# --- decisions ----------------------------------------------------------------------------------------------------


def test_an_expired_key_is_refused() -> None:
    key = KeyOptions(expires=NOW)
    assert key.admits("192.0.2.1", None, NOW) is None
    assert key.admits("192.0.2.1", None, NOW + 0.001) == "the key has expired"
    assert options('expiry-time="19700101Z"').admits("192.0.2.1", None, NOW) == "the key has expired"
    assert options('expiry-time="19600101Z"').admits("192.0.2.1", None, NOW) == "the key has expired"


@pytest.mark.parametrize(
    ("patterns", "address", "host", "admitted"),
    [
        ("192.0.2.0/24", "192.0.2.1", None, True),
        ("192.0.2.0/24", "::ffff:192.0.2.1", None, True),
        ("192.0.2.0/24", "198.51.100.1", "192.0.2.1", False),
        ("*.example", "192.0.2.1", "a.EXAMPLE", True),
        ("*.example", "192.0.2.1", None, False),
        ("*.example,!192.0.2.1", "192.0.2.1", "a.example", False),
        ("*", "UNKNOWN", "UNKNOWN", False),
        ("10.*", "192.0.2.1", "10.evil.example", False),
    ],
)
def test_a_key_is_admitted_from_where_it_may_come(
    patterns: str, address: str, host: str | None, admitted: bool
) -> None:
    refusal = options(f'from="{patterns}"').admits(address, host, NOW)
    assert (refusal is None) is admitted
    assert admitted or str(refusal).startswith(f"the key may not be used from {address}")


def test_row19_the_reason_of_a_refusal_is_fit_for_a_log() -> None:
    refusal = options('from="192.0.2.1"').admits("\x1b[31m\n", "host\x07\u202e", NOW)
    assert refusal is not None
    assert refusal.isprintable()


def test_lists_that_nobody_checked_grant_nothing() -> None:
    for unchecked in (KeyOptions(sources=(("*", ""),)), KeyOptions(networks=(("0.0.0.0/0", "\x1b*"),))):
        refusal = unchecked.admits("192.0.2.1", None, NOW)
        assert refusal is not None
        assert refusal.isprintable()
    assert KeyOptions(sources=((),)).admits("192.0.2.1", None, NOW) is not None
    assert KeyOptions(networks=((),)).admits("192.0.2.1", None, NOW) is not None


def test_permitopen_names_hosts_as_they_are_and_ports() -> None:
    limited = options('permitopen="host:80",permitopen="[2001:db8::1]:*",permitopen="h*:22"')
    for host, port in (("host", 80), ("2001:db8::1", 1), ("h*", 22)):
        assert limited.may_open(host, port)
    for host, port in (("host", 81), ("HOST", 80), ("host.", 80), ("other", 80), ("host", 22), ("", 80)):
        assert not limited.may_open(host, port)
    assert limited.may_listen("anything", 1)  # each says something of its own direction only
    anywhere = options('permitopen="*:80"')
    assert anywhere.may_open("anything", 80)
    assert not anywhere.may_open("anything", 81)
    assert KeyOptions().may_open("anything", 1)
    assert not options('no-port-forwarding,permitopen="*:*"').may_open("host", 80)


def test_permitlisten_names_patterns_and_ports() -> None:
    limited = options('permitlisten="8080",permitlisten="LocalHost:1",permitlisten="192.0.2.*:*"')
    for host, port in (("", 8080), ("anything", 8080), ("localhost", 1), ("LOCALHOST", 1), ("192.0.2.7", 0)):
        assert limited.may_listen(host, port)
    for host, port in (("", 1), ("127.0.0.1", 1), ("localhost", 2), ("192.0.20.7", 5), ("", 0)):
        assert not limited.may_listen(host, port)
    assert limited.may_open("anything", 1)
    assert KeyOptions().may_listen("", 0)
    assert not options('no-port-forwarding,permitlisten="*"').may_listen("localhost", 8080)


def test_an_authority_is_never_authorised_itself() -> None:
    found = parse_authorized_keys(f"cert-authority {ED_LINE}\nCert-Authority,no-pty {EC_LINE}\n{EC_LINE}\n", "keys")
    assert not found.find(ED)
    assert [entry.where for entry in found.find(EC)] == ["keys:3"]
    assert [entry.where for entry in found.find_authority(EC)] == ["keys:2"]
    assert [entry.where for entry in found.authorities] == ["keys:1", "keys:2"]


@pytest.mark.parametrize(
    ("text", "principals", "named"),
    [
        ('principals="alice,bob"', ["alice"], True),
        ('principals="alice,bob"', ["carol", "bob"], True),
        ('principals="alice,bob"', ["user"], False),  # the list stands in the place of the user's name
        ('principals="alice,bob"', ["alice,bob"], False),
        ('principals="alice,bob"', ["alic", "alicee", "ALICE", "*", "", " alice", "alice\0"], False),
        ('principals="*"', ["alice"], False),
        ('principals="alice bob"', ["alice", "bob"], False),
        ('principals="alice"', [], False),
        ("no-pty", ["user"], True),
        ("no-pty", ["use", "users", "USER", "user,root", "*", ""], False),
        ("no-pty", [], False),  # a certificate that names nobody is for nobody
    ],
)
def test_row05_principals_are_compared_whole(text: str, principals: list[str], named: bool) -> None:
    assert options(f"cert-authority,{text}").certifies("user", principals) is named


def test_row05_a_key_that_is_no_authority_certifies_nobody() -> None:
    assert not KeyOptions().certifies("user", ["user"])
    assert not options("cert-authority").merge(KeyOptions()).certifies("user", ["user"])


# --- two sources --------------------------------------------------------------------------------------------------

FLAG_TEXTS = ("no-agent-forwarding", "no-port-forwarding", "no-pty", "no-user-rc", "no-x11-forwarding", "restrict")


@pytest.mark.parametrize("text", [*FLAG_TEXTS, "verify-required"])
def test_what_one_source_forbids_is_forbidden(text: str) -> None:
    one = options(text)
    assert one.merge(KeyOptions()) == KeyOptions().merge(one) == one.merge(one) == one


def test_a_touch_is_dispensed_with_only_by_both() -> None:
    one = KeyOptions(require_touch=False)
    assert one.merge(KeyOptions()).require_touch
    assert KeyOptions().merge(one).require_touch
    assert not one.merge(one).require_touch


def test_forced_commands_of_two_sources_must_agree() -> None:
    one, other, empty = KeyOptions(command="a"), KeyOptions(command="b"), KeyOptions(command="")
    assert one.merge(KeyOptions()).command == KeyOptions().merge(one).command == one.merge(one).command == "a"
    assert empty.merge(KeyOptions()).command == KeyOptions().merge(empty).command == ""
    for first, second in ((one, other), (one, empty), (empty, one)):
        with pytest.raises(KeyFormatError, match="forced commands"):
            first.merge(second)


def test_the_earlier_expiry_counts() -> None:
    for first, second, earliest in ((1.0, 2.0, 1.0), (2.0, 1.0, 1.0), (None, 1.0, 1.0), (1.0, None, 1.0)):
        assert KeyOptions(expires=first).merge(KeyOptions(expires=second)).expires == earliest
    assert KeyOptions().merge(KeyOptions()).expires is None


def test_lists_of_two_sources_hold_both() -> None:
    both = options('from="192.0.2.0/24"').merge(options('from="*,!192.0.2.1"'))
    assert both.admits("192.0.2.2", None, NOW) is None
    assert both.admits("192.0.2.1", None, NOW) is not None
    assert both.admits("198.51.100.1", None, NOW) is not None

    both = options('from="192.0.2.*"').merge(KeyOptions(networks=(("192.0.2.0/25",),)))
    assert both.admits("192.0.2.2", None, NOW) is None
    assert both.admits("192.0.2.200", None, NOW) == "the certificate may not be used from 192.0.2.200"

    both = options('permitopen="a:1",permitopen="b:1"').merge(options('permitopen="b:*",permitlisten="1"'))
    assert both.may_open("b", 1)
    assert not both.may_open("a", 1)
    assert not both.may_open("b", 2)
    assert not both.may_listen("", 2)


def test_environment_of_two_sources_is_the_first_ones() -> None:
    one, other = KeyOptions(environment=(("A", "1"),)), KeyOptions(environment=(("B", "2"),))
    assert one.merge(other).environment == one.merge(KeyOptions()).environment == one.environment
    assert KeyOptions().merge(other).environment == other.environment


def test_different_tunnel_devices_of_two_sources_permit_none() -> None:
    one, other = KeyOptions(tunnel=0), KeyOptions(tunnel=1)
    assert one.merge(KeyOptions()) == KeyOptions().merge(one) == one.merge(one) == one
    assert not one.merge(other).permit_tunnel
    assert not KeyOptions(tunnel=TUNNEL_ANY).merge(one).permit_tunnel


def test_what_is_said_of_authorities_ends_with_them() -> None:
    merged = options('cert-authority,principals="a",no-pty').merge(RESTRICTED)
    assert merged == RESTRICTED


# --- files --------------------------------------------------------------------------------------------------------

UID = os.getuid()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a good file in it."""
    home = tmp_path / "home"
    for folder in (home, home / ".ssh"):
        folder.mkdir()
        folder.chmod(0o755)
    (home / ".ssh" / "keys").write_text(f"{ED_LINE}\n")
    (home / ".ssh" / "keys").chmod(0o644)
    return home


def load(path: Path, home: Path | None) -> AuthorizedKeys:
    return load_authorized_keys(path, home=home, uid=UID)


def test_files_are_read(home: Path) -> None:
    found = load(home / ".ssh" / "keys", home)
    assert [entry.where for entry in found.find(ED)] == [f"{home}/.ssh/keys:1"]
    assert not found.notes
    assert load(home / ".ssh" / "absent", home) == AuthorizedKeys()
    assert load(home / "nowhere" / "absent", home) == AuthorizedKeys()
    assert load_authorized_keys(home / ".ssh" / "keys", home=home, uid=UID, only=EC) == AuthorizedKeys()


def test_row24_only_regular_files_of_a_bounded_size_are_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = home / ".ssh"
    os.mkfifo(folder / "fifo")
    (folder / "loop").symlink_to("loop")
    (folder / "device").symlink_to("/dev/zero")
    with (folder / "big").open("wb") as file:
        file.write(f"{ED_LINE}\n".encode())
        file.truncate(MAX_AUTHORIZED_KEYS_FILE + 1)
    whole_file = {
        ".": "not a regular file",
        "fifo": "not a regular file",
        "device": "not a regular file",
        "loop": "cannot be read",
        "keys/below": "cannot be read",
        "bad\0name": "not a file name",
        "big": "larger than",
    }
    for name, why in whole_file.items():
        found = load_authorized_keys(folder / name, home=home, uid=None)
        assert found.keys == found.authorities == ()
        (note,) = found.notes
        assert note.line == 0
        assert note.reason.startswith(why)
        assert str(note).startswith(str(folder))
        assert str(note).isprintable()
        assert str(note).count(str(folder)) == 1

    def denied(*arguments: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    (note,) = load(folder / "keys", home).notes
    assert "Permission denied" in note.reason


def test_a_file_of_the_largest_size_is_read(home: Path) -> None:
    path = home / ".ssh" / "keys"
    path.write_bytes(f"{ED_LINE}\n".encode().ljust(MAX_AUTHORIZED_KEYS_FILE, b"#"))
    assert len(load(path, home).find(ED)) == 1


@pytest.mark.parametrize("place", [".", ".ssh", ".ssh/keys"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_a_file_that_others_could_change_or_replace_is_not_used(home: Path, place: str, mode: int) -> None:
    path = home / ".ssh" / "keys"
    (home / place).chmod(0o755 | mode)
    found = load(path, home)
    assert not found.keys
    (note,) = found.notes
    assert note.reason.startswith(f"bad ownership or modes: {home / place} is writable by others")
    assert len(load_authorized_keys(path, home=home, uid=None).find(ED)) == 1  # StrictModes no


@pytest.mark.parametrize("place", [".", ".ssh", ".ssh/keys"])
def test_a_file_or_folder_of_somebody_else_is_not_used(
    home: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = home / ".ssh" / "keys", os.stat
    inode = (home / place).stat().st_ino

    def owned(by: int) -> None:
        def stat(path: str | int) -> os.stat_result:
            status = real(path)
            owner = by if status.st_ino == inode else status.st_uid
            return os.stat_result((*status[:4], owner, *status[5:10]))

        monkeypatch.setattr(os, "stat", stat)

    for user in (0, UID):
        owned(by=user)
        assert check_owner_and_modes(path, home, UID) is None
    owned(by=UID + 4321)
    reason = check_owner_and_modes(path, home, UID)
    assert reason == f"bad ownership or modes: {home / place} belongs to user {UID + 4321}"


def test_what_was_read_is_what_is_checked(home: Path) -> None:
    path = home / ".ssh" / "keys"
    status = path.stat()
    assert check_owner_and_modes(path, home, UID, status) is None
    changed = os.stat_result((status.st_mode | 0o002, *status[1:10]))
    assert "writable" in str(check_owner_and_modes(path, home, UID, changed))


def test_folders_above_the_home_do_not_matter_and_others_all_do(home: Path) -> None:
    path = home / ".ssh" / "keys"
    home.parent.chmod(0o777)
    assert check_owner_and_modes(path, home, UID) is None
    assert check_owner_and_modes(path, f"{home}/.ssh/..//", UID) is None
    for other in (None, home.parent / "other", home.parent / "hom", path):
        assert check_owner_and_modes(path, other, UID) == (
            f"bad ownership or modes: {home.parent} is writable by others (mode 0777)"
        )


def test_a_link_is_followed_to_where_the_file_is(home: Path) -> None:
    outside = home.parent / "outside"
    outside.mkdir()
    outside.chmod(0o777)
    (outside / "keys").write_text(f"{EC_LINE}\n")
    (outside / "keys").chmod(0o600)
    (home / ".ssh" / "link").symlink_to(outside / "keys")
    found = load(home / ".ssh" / "link", home)
    assert not found.keys
    assert f"{outside} is writable by others" in found.notes[0].reason
    (home / ".ssh" / "inside").symlink_to(home / ".ssh" / "keys")
    assert len(load(home / ".ssh" / "inside", home).find(ED)) == 1


def test_what_cannot_be_checked_is_refused(home: Path) -> None:
    for name, why in {"absent": "cannot be checked", "bad\0name": "not a file name", ".": "not a regular file"}.items():
        reason = check_owner_and_modes(home / name, home, UID)
        assert why in str(reason)
        assert str(reason).isprintable()


# --- anything at all ----------------------------------------------------------------------------------------------


@given(st.binary(max_size=300) | st.text(st.characters(), max_size=300))
def test_any_data_gives_an_answer_and_no_key(data: bytes | str) -> None:
    found = parse_authorized_keys(data)
    assert found.keys == found.authorities == ()
    assert all(printable(str(note)) == str(note) for note in found.notes)


ANY_OPTION = st.sampled_from([*GOOD_OPTIONS, *(text for text in BAD_OPTIONS if len(text) < 100)])


ANY_TEXT = st.text('pty,="\\ \tcommand-no', max_size=10)


@given(st.lists(ANY_OPTION | ANY_TEXT, max_size=6), st.sampled_from([",", " ", ""]))
def test_any_options_give_an_entry_or_a_note(parts: list[str], between: str) -> None:
    found = parse_authorized_keys(f"{between.join(parts)} {ED_LINE}\n{EC_LINE}\n")
    assert len(found.find(EC)) == 1
    assert len(found.keys) + len(found.authorities) + len(found.notes) == 2


RESTRICTING = 'restrict,from="192.0.2.1",command="only this"'


@given(st.integers(0, len(RESTRICTING) - 1), st.characters() | st.just(""))
def test_row04_damage_never_lifts_a_restriction(at: int, character: str) -> None:
    damaged = RESTRICTING[:at] + character + RESTRICTING[at + 1 :]
    found = parse_authorized_keys(f"{damaged} {ED_LINE}\n{EC_LINE}")
    assert len(found.find(EC)) == 1
    for entry in found.keys:
        if entry.key != EC:
            assert entry.key == ED
            assert replace(entry.options, sources=(), command=None) == RESTRICTED
            assert entry.options.sources
            assert entry.options.command is not None


def quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'


VALUE = st.text(st.characters(codec="utf-8", exclude_characters="\n\0"), max_size=30).filter(
    lambda text: not text.endswith("\\")  # the format cannot say it
)
NAME = st.text("abcXYZ019_", min_size=1, max_size=6)
HOST = st.text("abc.-0*", min_size=1, max_size=8) | st.ip_addresses(v=6).map(str)
ENDPOINT = st.builds(Endpoint, HOST, st.none() | st.integers(1, 65535))


def written(granted: KeyOptions) -> str:
    """The options as text, in an order of their own."""

    def endpoint(entry: Endpoint) -> str:
        host = f"[{entry.host}]" if ":" in entry.host else entry.host
        return quoted(f"{host}:{'*' if entry.port is None else entry.port}")

    names = {"agent-forwarding": granted.permit_agent_forwarding, "port-forwarding": granted.permit_port_forwarding,
             "pty": granted.permit_pty, "user-rc": granted.permit_user_rc,
             "x11-forwarding": granted.permit_x11_forwarding, "touch-required": granted.require_touch,
             "verify-required": granted.require_verify}  # fmt: skip
    parts = [] if granted.permit_tunnel else ["restrict"]
    parts += [name if value else f"no-{name}" for name, value in names.items()]
    parts += [f"command={quoted(granted.command)}"] if granted.command is not None else []
    parts += [f"environment={quoted(f'{name}={value}')}" for name, value in granted.environment]
    parts += [f'tunnel="{granted.tunnel}"'] if granted.tunnel is not None else []
    parts += [f"from={quoted(','.join(patterns))}" for patterns in granted.sources]
    parts += [f"permitopen={endpoint(entry)}" for entries in granted.permit_open for entry in entries]
    parts += [f"permitlisten={endpoint(entry)}" for entries in granted.permit_listen for entry in entries]
    parts += ["cert-authority"] if granted.cert_authority else []
    parts += [f"principals={quoted(','.join(granted.principals))}"] if granted.principals is not None else []
    return ",".join(parts)


def one_list(entries: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[tuple[object, ...], ...]]:
    return st.just(()) | st.lists(entries, min_size=1, max_size=3).map(lambda found: (tuple(found),))


GRANTED = st.builds(
    KeyOptions,
    **dict.fromkeys(FLAGS, st.booleans()),
    command=st.none() | VALUE,
    environment=st.dictionaries(NAME, VALUE, max_size=3).map(lambda found: tuple(found.items())),
    tunnel=st.none() | st.integers(0, TUNNEL_ANY - 2),
    sources=one_list(st.sampled_from(["*", "!192.0.2.1", "2001:db8::/32", "*.example", "a b"])),
    networks=st.just(()),
    permit_open=one_list(ENDPOINT),
    permit_listen=one_list(ENDPOINT),
    principals=st.none() | st.lists(VALUE.map(lambda text: text.replace(",", "") + "a"), min_size=1).map(tuple),
).map(lambda granted: granted if granted.cert_authority else replace(granted, principals=None))


@given(GRANTED, VALUE)
def test_what_is_written_is_what_is_read(granted: KeyOptions, comment: str) -> None:
    comment = comment.strip(" \t\r")
    found = parse_authorized_keys(f"{written(granted)} {ED_LINE} {comment}\n")
    assert not found.notes
    (entry,) = found.authorities if granted.cert_authority else found.keys
    assert entry.options == granted
    assert entry.comment == comment


@given(GRANTED, GRANTED)
def test_row04_two_sources_permit_no_more_than_either(one: KeyOptions, other: KeyOptions) -> None:
    other = replace(other, command=one.command)
    both = one.merge(other)
    for name in PERMISSIONS:
        assert getattr(both, name) <= min(getattr(one, name), getattr(other, name))
    for host, port in (("a", 1), ("*", 22), ("2001:db8::1", 80)):
        assert both.may_open(host, port) == (one.may_open(host, port) and other.may_open(host, port))
        assert both.may_listen(host, port) == (one.may_listen(host, port) and other.may_listen(host, port))
    for address in ("192.0.2.1", "198.51.100.1", "2001:db8::1"):
        refused = [each.admits(address, None, NOW) is not None for each in (one, other)]
        assert (both.admits(address, None, NOW) is not None) is any(refused)
