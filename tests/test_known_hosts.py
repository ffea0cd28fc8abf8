"""known_hosts: what is known, what is not, and that every doubt refuses; with ssh-keygen as the reference."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh.algorithms import HOST_CERTIFICATES, HOST_KEYS
from fastssh.errors import HostKeyError
from fastssh.keys.known_hosts import (
    MAX_KNOWN_HOSTS_FILE,
    HostStatus,
    KnownHosts,
    Marker,
    add_known_host,
    hash_name,
    host_name,
)
from fastssh.keys.private import generate_private_key
from fastssh.keys.public import PublicKey, parse_public_line
from fastssh.wire.codec import string
from tests.support import keygen

MATCH, UNKNOWN, CHANGED, REVOKED = HostStatus.MATCH, HostStatus.UNKNOWN, HostStatus.CHANGED, HostStatus.REVOKED

ED = generate_private_key("ed25519").public
ED2 = generate_private_key("ed25519").public
EC = generate_private_key("ecdsa").public
RSA = generate_private_key("rsa", 1024).public
ED_LINE, ED2_LINE, EC_LINE, RSA_LINE = (key.line() for key in (ED, ED2, EC, RSA))


def status(text: str, host: str, port: int = 22, key: PublicKey = ED, address: str | None = None) -> HostStatus:
    return KnownHosts.parse(text).check(host, port, key, address).status


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "host", "port", "known"),
    [
        ("host", "host", 22, True),
        ("host", "HOST", 22, True),
        ("Host", "host", 22, True),
        ("host", "hos", 22, False),
        ("host", "host.example", 22, False),
        ("a,host,b", "host", 22, True),
        ("[host]:2222", "host", 2222, True),
        ("[host]:2222", "host", 2223, False),
        ("[host]:2222", "host", 22, False),
        ("[host]:22", "host", 22, False),
        ("host", "host", 0, True),  # an alias has no port
        ("*.example", "a.example", 22, True),
        ("*.example", "example", 22, False),
        ("h?st", "host", 22, True),
        ("*.example,!b.example", "b.example", 22, False),
        ("!b.example,*.example", "a.example", 22, True),
        ("!b.example", "a.example", 22, False),
        ("[*]:2222", "host", 2222, True),
        ("192.0.2.*", "192.0.2.7", 22, True),
        ("2001:db8::1", "2001:DB8::1", 22, True),
        ("[2001:db8::1]:2222", "2001:db8::1", 2222, True),
        ("fe80::1%eth0", "fe80::1%eth0", 22, True),
        ("h[o]st", "host", 22, False),
    ],
)
def test_names(names: str, host: str, port: int, known: bool) -> None:
    assert status(f"{names} {ED_LINE}\n", host, port) is (MATCH if known else UNKNOWN)


@pytest.mark.parametrize(("host", "port"), [("host.example", 22), ("host.example", 2222), ("2001:db8::1", 22)])
def test_hashed_names(host: str, port: int) -> None:
    text = f"{hash_name(host_name(host, port), bytes(range(20)))} {ED_LINE}\n"
    assert status(text, host, port) is MATCH
    assert status(text, host.upper(), port) is MATCH
    assert status(text, host, port, EC) is CHANGED
    assert status(text, "other.example", port) is UNKNOWN
    assert status(text, host, 4444) is (MATCH if port == 22 else UNKNOWN)  # a name without port serves every port


# --- answers ------------------------------------------------------------------------------------------------------


def test_any_of_several_keys_matches_and_any_other_key_means_changed() -> None:
    text = f"host {ED_LINE}\nother {RSA_LINE}\nhost {EC_LINE}\n"
    assert status(text, "host", key=ED) is MATCH
    assert status(text, "host", key=EC) is MATCH
    for key in (ED2, RSA):  # also of a type not seen before, as OpenSSH has it
        match = KnownHosts.parse(text, "known").check("host", 22, key)
        assert match.status is CHANGED
        assert [entry.where for entry in match.entries] == ["known:1", "known:3"]
        assert [entry.algorithm for entry in match.entries] == ["ssh-ed25519", "ecdsa-sha2-nistp256"]


def test_a_match_names_its_file_and_line() -> None:
    match = KnownHosts.parse(f"# comment\n\nhost {ED_LINE} a comment here", "name").check("host", 22, ED)
    (entry,) = match.entries
    assert (entry.where, entry.comment, entry.key, entry.names) == ("name:3", "a comment here", ED, "host")


@pytest.mark.parametrize("order", [0, 1])
def test_a_revoked_key_is_refused_wherever_the_line_stands(order: int) -> None:
    lines = [f"host {ED_LINE}", f"@revoked * {ED_LINE}"]
    text = "\n".join(lines if order else lines[::-1])
    match = KnownHosts.parse(text).check("host", 22, ED)
    assert match.status is REVOKED
    assert [entry.marker for entry in match.entries] == [Marker.REVOKED]
    assert status(text, "unheard-of", key=ED) is REVOKED
    assert status(text, "unheard-of", key=EC) is UNKNOWN
    assert status(text, "host", 2222) is REVOKED


def test_a_key_revoked_for_the_name_or_the_address_is_revoked_at_every_port() -> None:
    text = f"[host]:2222 {ED_LINE}\n@revoked host {ED_LINE}\n"
    assert status(text, "host", 2222) is REVOKED
    text = f"host {ED_LINE}\n@revoked 192.0.2.1 {ED_LINE}\n"
    assert status(text, "host", address="192.0.2.1") is REVOKED
    assert status(text, "host", address="192.0.2.2") is MATCH


def test_an_authority_is_not_a_key_of_the_host() -> None:
    text = f"@cert-authority *.example {ED_LINE}\n"
    assert status(text, "a.example") is UNKNOWN
    entries = KnownHosts.parse(text).lookup("a.example", 22)
    assert [entry.key for entry in entries.authorities] == [ED]
    assert entries.keys == entries.revoked == ()


def test_a_key_of_the_name_without_port_is_accepted_only_where_nothing_else_is_known() -> None:
    text = f"host {ED_LINE}\n"
    assert status(text, "host", 2222, ED) is MATCH
    assert status(text, "host", 2222, EC) is UNKNOWN
    assert status(text + f"[host]:2222 {EC_LINE}\n", "host", 2222, ED) is CHANGED


def test_the_address_is_told_apart_from_the_name() -> None:
    text = f"host {ED_LINE}\n192.0.2.1 {EC_LINE}\n"
    match = KnownHosts.parse(text).check("host", 22, ED, "192.0.2.1")
    assert match.status is MATCH
    assert match.address is not None
    assert match.address.status is CHANGED
    match = KnownHosts.parse(text).check("new", 22, EC, "192.0.2.1")
    assert match.status is UNKNOWN  # an address alone vouches for nobody
    assert match.address is not None
    assert match.address.status is MATCH


def test_row17_a_host_known_by_a_type_that_we_do_not_speak_is_not_unknown() -> None:
    name = "sk-ssh-ed25519@openssh.com"
    text = base64.b64encode(string(name.encode()) + string(bytes(32)) + string(b"ssh:")).decode()
    assert status(f"host {name} {text}\n", "host") is CHANGED


def test_keys_known_by_other_names_are_found() -> None:
    text = f"one {ED_LINE}\n@revoked two {ED_LINE}\nthree {EC_LINE}\n{hash_name('four', bytes(20))} {ED_LINE}\n"
    entries = KnownHosts.parse(text).with_key(ED)
    assert [(entry.line, entry.hashed) for entry in entries] == [(1, False), (4, True)]


# --- malformed lines ----------------------------------------------------------------------------------------------

MALFORMED = {
    "host": "names, key type and key",
    "host ssh-ed25519": "names, key type and key",
    "host ssh-ed25519 AAAA": "base64",
    "host ssh-ed25519 ????": "base64",
    f"host ssh-rsa {ED_LINE.split()[1]}": "type named",
    f"@unheard-of host {ED_LINE}": "marker",
    "@revoked": "names, key type and key",
    f"|1|AAAA|AAAA {ED_LINE}": "hashed name",
    f"|2|{'A' * 27}=|{'A' * 27}= {ED_LINE}": "hashed name",
    f"||| {ED_LINE}": "hashed name",
    "host 1024 35 1234567890": "base64",  # SSH 1
    f"host ssh-ed25519 {ED_LINE.split()[1][:-4]}": "malformed",
    "\x00\x01 \udcff \udcfe": "base64",
}


@pytest.mark.parametrize("line", list(MALFORMED))
def test_malformed_lines_are_ignored_and_noted(line: str) -> None:
    hosts = KnownHosts.parse(f"# fine\n{line}\nhost {EC_LINE}\n", "known")
    assert hosts.check("host", 22, EC).status is MATCH
    (note,) = hosts.notes()
    assert str(note).startswith("known:2: ")
    assert MALFORMED[line] in note.reason


def test_lines_end_with_newlines_and_nothing_else() -> None:
    for separator in ("\x0b", "\x0c", "\x1c", "\u2028", "\x85"):
        assert status(f"# comment{separator}host {ED_LINE}\n", "host") is UNKNOWN
    assert status(f"a {EC_LINE}\r\nhost\t {ED_LINE}\r\n", "host") is MATCH


@given(st.text(max_size=200), st.text(max_size=20), st.integers(0, 65535))
def test_any_text_gives_an_answer(text: str, host: str, port: int) -> None:
    hosts = KnownHosts.parse(text)
    assert hosts.check(host, port, ED, host).status is UNKNOWN
    assert hosts.algorithms_for(host, port) == HOST_KEYS
    list(hosts.notes())


@given(st.data())
def test_damaged_files_never_turn_another_key_into_a_match(data: st.DataObject) -> None:
    text = f"host {ED_LINE}\n@revoked * {EC_LINE}\n{hash_name('host', bytes(20))} {RSA_LINE}"
    at = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:at] + data.draw(st.characters()) + text[at + 1 :]
    assert KnownHosts.parse(damaged).check("host", 22, ED2).status in (CHANGED, UNKNOWN)


# --- the order of the offer ---------------------------------------------------------------------------------------


def test_algorithms_are_ordered_so_that_a_known_key_is_shown() -> None:
    def offer(text: str, port: int = 22) -> tuple[str, ...]:
        return KnownHosts.parse(text).algorithms_for("host", port)

    assert offer("") == HOST_KEYS
    assert offer(f"host {ED_LINE}\n") == HOST_KEYS
    assert offer(f"host {RSA_LINE}\n")[:3] == ("rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519")
    assert offer(f"host {EC_LINE}\n")[:2] == ("ecdsa-sha2-nistp256", "ssh-ed25519")
    assert offer(f"host {EC_LINE}\nhost {RSA_LINE}\n")[:3] == ("ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256")
    assert offer(f"host {RSA_LINE}\nhost {ED_LINE}\n") == HOST_KEYS  # the best is known: the rest does not matter
    assert offer(f"host {RSA_LINE}\n", 2222)[0] == "rsa-sha2-512"
    assert offer(f"host {RSA_LINE}\n[host]:2222 {EC_LINE}\n", 2222)[0] == "ecdsa-sha2-nistp256"
    assert offer(f"@cert-authority other {RSA_LINE}\n@revoked host {EC_LINE}\n") == HOST_KEYS
    assert offer(f"@cert-authority host {RSA_LINE}\n@revoked host {EC_LINE}\n") == (*HOST_CERTIFICATES, *HOST_KEYS)
    assert offer(f"@cert-authority host {RSA_LINE}\n", 2222) == (*HOST_CERTIFICATES, *HOST_KEYS)
    assert sorted(offer(f"host {RSA_LINE}\n")) == sorted(HOST_KEYS)
    assert KnownHosts.parse(f"host {RSA_LINE}\n").algorithms_for("host", 22, ("ssh-ed25519", "rsa-sha2-256")) == (
        "rsa-sha2-256",
        "ssh-ed25519",
    )
    assert KnownHosts.parse("").algorithms_for("host", 22, ()) == ()


# --- reading files ------------------------------------------------------------------------------------------------


def test_files_are_read_in_order_and_absent_ones_are_empty(tmp_path: Path) -> None:
    (tmp_path / "one").write_text(f"host {ED_LINE}")  # no newline at the end
    (tmp_path / "two").write_text(f"host {EC_LINE}\n")
    hosts = KnownHosts.load([tmp_path / "one", tmp_path / "absent", os.devnull, tmp_path / "two"])
    entries = hosts.lookup("host", 22).keys
    assert [entry.where for entry in entries] == [f"{tmp_path}/one:1", f"{tmp_path}/two:1"]


def test_files_that_are_not_utf8_are_read(tmp_path: Path) -> None:
    (tmp_path / "known").write_bytes(b"h\xf6st " + ED_LINE.encode() + b" gr\xfc\xdfe\nhost " + ED_LINE.encode())
    hosts = KnownHosts.load([tmp_path / "known"])
    assert hosts.check("host", 22, ED).status is MATCH
    assert not list(hosts.notes())


def test_row17_a_known_hosts_file_that_cannot_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("")
    for name in (".", "fifo", "loop", "file/below", "bad\0name"):
        with pytest.raises(HostKeyError) as caught:
            KnownHosts.load([tmp_path / name])
        assert "\n" not in str(caught.value)
    with (tmp_path / "big").open("wb") as file:
        file.truncate(MAX_KNOWN_HOSTS_FILE + 1)
    with pytest.raises(HostKeyError, match="larger"):
        KnownHosts.load([tmp_path / "big"])

    def denied(*arguments: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(HostKeyError, match=r"file: .*Permission denied"):
        KnownHosts.load([tmp_path / "file"])


def test_row17_a_read_that_fails_half_way_is_an_error() -> None:
    # /proc/self/mem is a regular file that opens and then fails to read: as a disk that gives out.
    if not Path("/proc/self/mem").exists():
        pytest.skip("needs /proc/self/mem, which Linux has")
    with pytest.raises(HostKeyError, match="cannot be read"):
        KnownHosts.load(["/proc/self/mem"])


# --- writing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_row24_file_and_folder_are_private_from_the_start(tmp_path: Path, umask: int) -> None:
    path = tmp_path / ".ssh" / "known_hosts"
    before = os.umask(umask)
    try:
        add_known_host(path, "host", 22, ED, hashed=False)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o7777 == 0o600
    assert path.parent.stat().st_mode & 0o7777 == 0o700
    assert path.read_text() == f"host {ED_LINE}\n"


def test_permissions_of_an_existing_file_stay(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text("")
    path.chmod(0o644)
    add_known_host(path, "host", 22, ED, hashed=False)
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("before", "between"),
    [("", ""), (f"old {EC_LINE}\n", ""), (f"old {EC_LINE}", "\n"), ("# comment", "\n")],
)
def test_a_missing_last_newline_is_survived(tmp_path: Path, before: str, between: str) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(before)
    add_known_host(path, "Host.Example", 22, ED, hashed=False)
    assert path.read_text() == f"{before}{between}host.example {ED_LINE}\n"
    assert KnownHosts.load([path]).check("host.example", 22, ED).status is MATCH
    if "old" in before:
        assert KnownHosts.load([path]).check("old", 22, EC).status is MATCH


def test_a_line_is_one_write_to_a_file_opened_for_append(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "known_hosts"
    path.write_text("# no newline")
    writes: list[bytes] = []
    flags: list[int] = []
    real_write, real_open = os.write, os.open

    def write(descriptor: int, data: bytes) -> int:
        writes.append(data)
        return real_write(descriptor, data)

    def open_(name: str, how: int, mode: int = 0o777) -> int:
        flags.append(how)
        return real_open(name, how, mode)

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(os, "open", open_)
    add_known_host(path, "host", 22, ED, hashed=False)
    assert writes == [f"\nhost {ED_LINE}\n".encode()]
    assert all(how & os.O_APPEND for how in flags)


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(f"old {EC_LINE}\n")
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:10]))
    with pytest.raises(HostKeyError, match=r"known_hosts: .*whole"):
        add_known_host(path, "host", 22, ED, hashed=False)
    assert path.read_text() == f"old {EC_LINE}\n"


def test_failures_to_write_name_path_and_reason(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_text("")
    for name in (".", "fifo", "no/such/folder", "file/below", "bad\0name"):
        with pytest.raises(HostKeyError, match="not added") as caught:
            add_known_host(tmp_path / name, "host", 22, ED, hashed=False)
        assert str(tmp_path) in str(caught.value)
    add_known_host(os.devnull, "host", 22, ED, hashed=False)


def test_a_link_to_a_file_yet_to_be_made_is_followed(tmp_path: Path) -> None:
    (tmp_path / "known_hosts").symlink_to(tmp_path / "real")
    add_known_host(tmp_path / "known_hosts", "host", 22, ED, hashed=False)
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "host",
    ["", "a b", "a\nb", "*", "h?st", "!host", "a,b", "|1|x|y", "#host", "@revoked", "\x00", "\x1b[31m", "\udcff"],
)
@pytest.mark.parametrize("hashed", [False, True])
def test_names_that_would_mean_something_else_in_a_file_are_never_written(
    tmp_path: Path, host: str, hashed: bool
) -> None:
    with pytest.raises(HostKeyError) as caught:
        add_known_host(tmp_path / "known_hosts", host, 22, ED, hashed=hashed)
    assert str(caught.value).isprintable()
    assert not (tmp_path / "known_hosts").exists()


# --- ssh-keygen as the reference ----------------------------------------------------------------------------------

HOSTS = [("host.example", 22), ("host.example", 2222), ("192.0.2.1", 22), ("2001:db8::1", 22), ("2001:db8::1", 2222)]


@pytest.mark.parametrize("hashed", [False, True])
def test_ssh_keygen_finds_what_we_write(tmp_path: Path, hashed: bool) -> None:
    path = tmp_path / "known_hosts"
    for host, port in HOSTS:
        add_known_host(path, host, port, ED, hashed=hashed)
    text = path.read_text()
    assert ("example" in text) is not hashed
    for number, (host, port) in enumerate(HOSTS, 1):
        found = keygen.run("-F", host_name(host, port), "-f", path, home=tmp_path).stdout.decode()
        assert f"found: line {number}" in found
        assert found.count("found: line") == 1
        assert ED_LINE in found
        assert KnownHosts.load([path]).check(host, port, ED).entries[0].line == number


def test_we_find_what_ssh_keygen_hashes(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    for host, port in HOSTS:
        add_known_host(path, host, port, ED, hashed=False)
    with path.open("a") as file:
        file.write(f"one,two {EC_LINE}\n@revoked bad {RSA_LINE}\n")
    keygen.run("-H", "-f", path, home=tmp_path)
    text = path.read_text()
    assert "host.example" not in text
    assert "one" not in text
    hosts = KnownHosts.load([path])
    for host, port in HOSTS:
        assert hosts.check(host, port, ED).status is MATCH
        assert hosts.check(host, port, EC).status is CHANGED
    assert hosts.check("one", 22, EC).status is hosts.check("two", 22, EC).status is MATCH
    assert hosts.check("bad", 22, RSA).status is REVOKED


@pytest.mark.parametrize(
    "line",
    ["*.example,!b.example", "!b.example,*", "h?st", "[host]:2222", "HOST", "a,b,host", "[*]:2222", "*", "192.0.2.?"],
)
def test_names_mean_to_us_what_they_mean_to_ssh_keygen(tmp_path: Path, line: str) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(f"{line} {ED_LINE}\n")
    for name in ("host", "a.example", "b.example", "[host]:2222", "192.0.2.7", "192.0.2.77", "a"):
        theirs = keygen.run("-F", name, "-f", path, home=tmp_path, check=False).stdout
        host, port = (name[1:-6], 2222) if name.startswith("[") else (name, 22)
        assert bool(KnownHosts.load([path]).lookup(host, port).keys) is bool(theirs), name


def test_lines_of_ssh_keygen_public_files_are_entries(tmp_path: Path) -> None:
    path = keygen.make_key(tmp_path / "id", "rsa", 2048)
    line = Path(f"{path}.pub").read_text()
    assert status(f"host {line}", "host", key=parse_public_line(line)[0]) is MATCH
