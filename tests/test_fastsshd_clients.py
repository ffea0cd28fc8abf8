"""fastsshd with other people's clients: OpenSSH's, PuTTY's, dropbear's, curl, lftp, rclone, sshfs, rsync, git."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import pytest

from fastssh import algorithms
from fastssh.keys.private import load_private_key
from tests.support import openssh
from tests.support.copying import MIB, random_file, sha256
from tests.support.fastsshd import Start
from tests.support.peers import NOT_HERE, Peer, PeerMissing, clean_environment, openssh_offers, program, wait_for

SECONDS = 60.0


def run(
    command: list[str | os.PathLike[str]], peer: Peer, *, status: int = 0, stdin: bytes = b"", **environment: str
) -> str:
    """Runs a client to its end and returns what it said; it has to exit with ``status``."""
    done = subprocess.run(
        [os.fspath(part) for part in command], env=clean_environment(peer.directory, **environment), cwd=peer.directory,
        input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS,
    )  # fmt: skip
    said = done.stdout.decode("utf-8", "replace")
    assert done.returncode == status, f"{command[0]} exited with {done.returncode}: {said}"
    return said


def found(name: str, package: str) -> str:
    try:
        return program(name, package)
    except PeerMissing as missing:
        pytest.skip(str(missing))


def ssh_command(peer: Peer) -> str:
    """ssh with all that reaches the peer, as one line for a shell."""
    return shlex.join([program("ssh", "openssh-client"), "-a", "-x", "-F", os.devnull, *peer.options()])


def make_tree(top: Path) -> Path:
    """Folders, files of several sizes, an executable, and names that want quoting."""
    (top / "deep" / "er").mkdir(parents=True)
    for number in range(12):
        random_file(top / "deep" / f"file {number}", number * 25_000, seed=number)
    random_file(top / "big", 3 * MIB + 7)
    (top / "deep" / "er" / "größe 'q' $x.txt").write_text("words\n")
    (top / "deep" / "er" / "empty").touch()
    (top / "run").write_text("#!/bin/sh\n")
    (top / "run").chmod(0o755)
    return top


def tree(top: Path) -> dict[str, str | None]:
    """Hashes by relative name; None for a folder."""
    assert top.is_dir()
    return {
        str(path.relative_to(top)): None if path.is_dir() else sha256(path)
        for path in sorted(top.rglob("*"))
    }


# --- OpenSSH: algorithms ------------------------------------------------------------------------------------------


def combinations() -> Iterator[tuple[str, str, str]]:
    """Each key exchange method, cipher and MAC that both sides know, at least once; MACs go with CTR."""
    try:
        kinds = {"kex": algorithms.KEX, "cipher": algorithms.CIPHERS, "mac": algorithms.MACS}
        kex, ciphers, macs = ([name for name in ours if name in openssh_offers(kind)] for kind, ours in kinds.items())
    except PeerMissing:
        return  # the fixture says so
    with_macs = [cipher for cipher in ciphers if cipher.endswith("-ctr")]
    pairs = [(cipher, "<implicit>") for cipher in ciphers if cipher not in with_macs]
    pairs += islice(zip(cycle(with_macs), cycle(macs), strict=False), len(with_macs) * len(macs))
    for number in range(max(len(kex), len(pairs))):
        yield kex[number % len(kex)], *pairs[number % len(pairs)]


def test_openssh_speaks_every_algorithm_that_it_knows_as_well(start_fastsshd: Start) -> None:
    """And exchanges keys again with each."""
    peer = start_fastsshd(KexAlgorithms="+ecdh-*")
    data, rekey = os.urandom(300_000), ("-o", "RekeyLimit=200K")
    tried = list(combinations())
    for kex, cipher, mac in tried:
        options = ("-o", f"KexAlgorithms={kex}", "-c", cipher, *(() if mac == "<implicit>" else ("-m", mac)))
        done = openssh.ssh(peer, "cat", options=("-v", *options, "-o", "LogLevel=DEBUG1", *rekey), stdin=data)
        said = done.stderr.decode()
        assert (done.returncode, done.stdout == data) == (0, True), said
        assert said.count("debug1: SSH2_MSG_NEWKEYS received") > 1
        assert set(re.findall(r"kex: algorithm: (\S+)", said)) == {kex}
        assert set(re.findall(r"cipher: (\S+) MAC: (\S+) compression: none", said)) == {(cipher, mac)}
    for kind, ours in ((0, algorithms.KEX), (1, algorithms.CIPHERS), (2, algorithms.MACS)):
        assert len({each[kind] for each in tried} - {"<implicit>"}) >= len(ours) - 1, tried  # 9.2 has no ML-KEM


def test_openssh_compresses_and_rekeys(start_fastsshd: Start) -> None:
    peer = start_fastsshd(RekeyLimit="1M")
    data = b"the same line again and again\n" * 200_000
    done = openssh.ssh(peer, "cat", options=("-C", "-v", "-o", "LogLevel=DEBUG1", "-o", "RekeyLimit=1M"), stdin=data)
    assert (done.returncode, done.stdout == data) == (0, True)
    assert b"compression: zlib@openssh.com" in done.stderr


# --- OpenSSH: files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["-s", "-O"])
def test_scp_copies_trees_both_ways(fastsshd: Peer, tmp_path: Path, mode: str) -> None:
    source, there = make_tree(tmp_path / "source"), fastsshd.root / f"scp{mode}"
    for arguments in ((source, fastsshd.remote(there)), (fastsshd.remote(there), tmp_path / "back")):
        done = openssh.run("scp", fastsshd, mode, "-rp", *arguments)
        assert done.returncode == 0, done.stderr
    assert tree(there) == tree(tmp_path / "back") == tree(source)
    assert (there / "run").stat().st_mode & 0o777 == 0o755
    assert int((there / "big").stat().st_mtime) == int((source / "big").stat().st_mtime)


def test_sftp_s_batches_put_get_and_resume(fastsshd: Peer, tmp_path: Path) -> None:
    source, there = make_tree(tmp_path / "source"), fastsshd.root / "batch"
    big, half = source / "big", (source / "big").read_bytes()[: 2 * MIB]
    there.mkdir()
    for place in (there / "half", tmp_path / "half"):
        place.write_bytes(half)
    done = openssh.sftp(
        fastsshd,
        f"cd {there}\nput -R {source} copy\nget -R copy {tmp_path}/back\n"
        f"reput {big} half\nreget copy/big {tmp_path}/half\n"
        f"put -p {source}/run run\nchmod 640 run\nrename run ran\nln -s ran link\nls -la\n-rm nothing\ndf -h\n",
    )
    assert done.returncode == 0, done.stderr
    assert tree(there / "copy") == tree(tmp_path / "back") == tree(source)
    assert sha256(there / "half") == sha256(tmp_path / "half") == sha256(big)
    assert ((there / "ran").stat().st_mode & 0o777, os.readlink(there / "link")) == (0o640, "ran")
    assert b'remote delete("' in done.stderr or b"nothing" in done.stderr
    assert openssh.sftp(fastsshd, f"rm {there}/nothing\n").returncode == 1


# --- PuTTY --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Putty:
    """PuTTY's programs, its form of the user's key, and the host key's fingerprint, which is all that it believes."""

    peer: Peer
    key: Path
    fingerprint: str

    def __call__(self, name: str, *arguments: str | os.PathLike[str], stdin: bytes = b"", status: int = 0) -> str:
        peer = self.peer
        reaching = ["-batch", "-P", str(peer.port), "-l", peer.user, "-i", self.key, "-hostkey", self.fingerprint]
        return run([found(name, "putty-tools"), *reaching, *arguments], peer, stdin=stdin, status=status)


@pytest.fixture
def putty(fastsshd: Peer, tmp_path: Path) -> Putty:
    key = tmp_path / "user.ppk"
    run([found("puttygen", "putty-tools"), fastsshd.key, "-O", "private", "-o", key], fastsshd)
    fingerprint = load_private_key(fastsshd.keys.host("ed25519")).public.fingerprint()
    return Putty(fastsshd, key, fingerprint)


def test_plink_runs_commands(putty: Putty) -> None:
    assert putty("plink", putty.peer.host, "cat; exit 7", stdin=b"in", status=7) == "in"
    assert putty("plink", "-C", putty.peer.host, "seq 100000 | tail -n 1") == "100000\n"
    assert putty("plink", "-t", putty.peer.host, "tty").startswith("/dev/")


@pytest.mark.parametrize("protocol", ["-sftp", "-scp"])
def test_pscp_copies_trees_both_ways(putty: Putty, tmp_path: Path, protocol: str) -> None:
    source, there = make_tree(tmp_path / "source"), putty.peer.root / f"pscp{protocol}"
    there.mkdir()
    (tmp_path / "back").mkdir()
    putty("pscp", "-q", "-r", "-p", protocol, source, putty.peer.remote(there))
    putty("pscp", "-q", "-r", "-p", protocol, putty.peer.remote(there / "source"), tmp_path / "back")
    assert tree(there / "source") == tree(tmp_path / "back" / "source") == tree(source)


def test_psftp_does_what_its_commands_say(putty: Putty, tmp_path: Path) -> None:
    source, there, batch = make_tree(tmp_path / "source"), putty.peer.root / "psftp", tmp_path / "commands"
    (tmp_path / "half").write_bytes((source / "big").read_bytes()[:MIB])
    batch.write_text(
        f"mkdir {there}\ncd {there}\nput -r {source} copy\nget -r copy {tmp_path}/back\n"
        f"reget copy/big {tmp_path}/half\n"
        "mv copy/big copy/bigger\nchmod 600 copy/bigger\nls copy\nrm copy/run\nmkdir gone\nrmdir gone\n"
    )
    assert "bigger" in putty("psftp", "-b", batch, putty.peer.host)
    assert tree(tmp_path / "back") == tree(source)
    assert sha256(tmp_path / "half") == sha256(there / "copy" / "bigger") == sha256(source / "big")
    assert (there / "copy" / "bigger").stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(there / "copy")) == ["bigger", "deep"]


# --- dropbear, curl -----------------------------------------------------------------------------------------------


def test_dropbear_s_client_runs_commands(fastsshd: Peer, tmp_path: Path) -> None:
    key, data = tmp_path / "key", "line\n" * 100_000
    run([found("dropbearconvert", "dropbear-bin"), "openssh", "dropbear", fastsshd.key, key], fastsshd)
    client = [found("dbclient", "dropbear-bin"), "-y", "-T", "-i", key, "-p", str(fastsshd.port)]
    said = run([*client, f"{fastsshd.user}@{fastsshd.host}", "cat; exit 9"], fastsshd, stdin=data.encode(), status=9)
    assert data in said


def test_curl_moves_files(fastsshd: Peer, tmp_path: Path) -> None:
    """libssh2's SSH and SFTP."""
    source, there = random_file(tmp_path / "source", 3 * MIB + 1), fastsshd.root / "curl"
    known = fastsshd.directory / ".ssh"  # the one place where curl looks for known_hosts
    known.mkdir(exist_ok=True)
    shutil.copy(fastsshd.known_hosts, known / "known_hosts")
    curl = [
        found("curl", "curl"), "--silent", "--show-error", "--user", f"{fastsshd.user}:", "--key", fastsshd.key,
        "--pubkey", f"{fastsshd.key}.pub",
    ]  # fmt: skip
    where = f"{fastsshd.host}:{fastsshd.port}{there}"
    run([*curl, "--ftp-create-dirs", "--upload-file", source, f"sftp://{where}/up"], fastsshd)
    run([*curl, "--quote", f"rename {there}/up {there}/moved", "--output", os.devnull, f"sftp://{where}/"], fastsshd)
    (tmp_path / "half").write_bytes(source.read_bytes()[:MIB])
    for scheme, name, more in (("sftp", "back", ()), ("sftp", "half", ("--continue-at", "-")), ("scp", "scp", ())):
        run([*curl, *more, "--output", tmp_path / name, f"{scheme}://{where}/moved"], fastsshd)
        assert sha256(tmp_path / name) == sha256(source)


# --- lftp, rclone, rsync, git ---------------------------------------------------------------------------------------


def test_lftp_mirrors_both_ways(fastsshd: Peer, tmp_path: Path) -> None:
    source, there = make_tree(tmp_path / "source"), fastsshd.root / "lftp"
    commands = (
        f'set sftp:connect-program "{ssh_command(fastsshd)}"; set net:max-retries 1; set net:timeout 20; '
        f"open sftp://{fastsshd.user}:@{fastsshd.host}:{fastsshd.port}; "
        f"mirror -R -P 3 {source} {there}; mirror -P 3 {there} {tmp_path}/back; "
        f"pget -n 4 {there}/big -o {tmp_path}/in-parts; mv {there}/run {there}/ran; cls -l {there}; rm {there}/ran"
    )
    said = run([found("lftp", "lftp"), "-c", commands], fastsshd)
    assert "ran" in said
    assert tree(tmp_path / "back") == tree(source)
    assert sha256(tmp_path / "in-parts") == sha256(source / "big")
    assert sorted(os.listdir(there)) == ["big", "deep"]


def test_rclone_copies_checks_and_removes(fastsshd: Peer, tmp_path: Path) -> None:
    """Go's SSH and SFTP, with hashes computed by commands on the server."""
    rclone = found("rclone", "rclone")
    source, there = make_tree(tmp_path / "source"), fastsshd.root / "rclone"
    settings = {
        "config": os.devnull, "retries": "1", "sftp-host": fastsshd.host, "sftp-port": str(fastsshd.port),
        "sftp-user": fastsshd.user, "sftp-key-file": str(fastsshd.key),
        "sftp-known-hosts-file": str(fastsshd.known_hosts),
    }  # fmt: skip
    options = [f"--{name}={value}" for name, value in settings.items()]

    def remote(*arguments: str | os.PathLike[str]) -> str:
        return run([rclone, *options, *arguments], fastsshd)

    remote("copy", "--create-empty-src-dirs", source, f":sftp:{there}")
    assert tree(there) == tree(source)
    assert "0 differences found" in remote("check", source, f":sftp:{there}")
    remote("copy", f":sftp:{there}", tmp_path / "back")
    assert tree(tmp_path / "back") == tree(source)
    assert "größe" in remote("lsf", "-R", f":sftp:{there}")
    remote("moveto", f":sftp:{there}/big", f":sftp:{there}/bigger")
    assert sha256(there / "bigger") == sha256(source / "big")
    remote("purge", f":sftp:{there}")
    assert not there.exists()


def test_rsync_copies_trees_both_ways(fastsshd: Peer, tmp_path: Path) -> None:
    source, there = make_tree(tmp_path / "source"), fastsshd.root / "rsync"
    rsync = [found("rsync", "rsync"), "-a", "-e", ssh_command(fastsshd)]
    run([*rsync, f"{source}/", f"{fastsshd.remote(there)}/"], fastsshd)
    with open(source / "big", "r+b") as file:  # the second time only what differs is sent
        file.seek(MIB)
        file.write(b"changed")
    run([*rsync, "--ignore-times", f"{source}/", f"{fastsshd.remote(there)}/"], fastsshd)
    run([*rsync, f"{fastsshd.remote(there)}/", f"{tmp_path}/back/"], fastsshd)
    assert tree(there) == tree(tmp_path / "back") == tree(source)


def test_git_pushes_and_clones(fastsshd: Peer, tmp_path: Path) -> None:
    git, work, url = found("git", "git"), make_tree(tmp_path / "work"), f"{fastsshd.host}:{fastsshd.root}/repository"
    settings = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_SSH_COMMAND": ssh_command(fastsshd)}
    for step in (
        ["init", "-q", "--bare", f"{fastsshd.root}/repository"], ["init", "-q", f"{work}"],
        ["-C", f"{work}", "add", "."],
        ["-C", f"{work}", "-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-q", "-m", "one"],
        ["-C", f"{work}", "push", "-q", url, "HEAD:refs/heads/main"],
        ["clone", "-q", "-b", "main", url, f"{tmp_path}/copy"],
    ):  # fmt: skip
        run([git, *step], fastsshd, **settings)
    for top in (work, tmp_path / "copy"):
        shutil.rmtree(top / ".git")
    (work / "deep" / "er" / "empty").stat()
    assert tree(tmp_path / "copy") == tree(work)


# --- sshfs --------------------------------------------------------------------------------------------------------


@pytest.fixture
def mounted(fastsshd: Peer, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """(what the server has, the same through sshfs)."""
    sshfs, unmount = found("sshfs", "sshfs"), found("fusermount3", "fuse3")
    there, here = fastsshd.root / "sshfs", tmp_path / "mounted"
    there.mkdir()
    here.mkdir()
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(
            [sshfs, "-f", "-o", f"ssh_command={ssh_command(fastsshd)},dir_cache=no,attr_timeout=0,entry_timeout=0",
             f"{fastsshd.user}@{fastsshd.host}:{there}", here],
            env=clean_environment(tmp_path), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        wait_for(lambda: process.poll() is not None or os.path.ismount(here), "sshfs to mount", 20)
        if process.poll() is not None:
            said = (tmp_path / "log").read_text()
            if re.search(r"fuse.*(not permitted|denied|No such (file|device)|not found)", said):
                pytest.skip(f"{NOT_HERE}FUSE does not mount: {said.strip()}")
            raise AssertionError(f"sshfs: {said}")
        yield there, here
    finally:
        if os.path.ismount(here):
            subprocess.run([unmount, "-u", here], check=True, timeout=20)
        elif process.poll() is None:
            process.kill()
        process.wait(20)


def test_sshfs_is_a_file_system(mounted: tuple[Path, Path], tmp_path: Path) -> None:
    there, here = mounted
    source = make_tree(tmp_path / "source")
    shutil.copytree(source, here / "copy")
    assert tree(there / "copy") == tree(here / "copy") == tree(source)
    with open(here / "copy" / "big", "r+b") as file:
        file.seek(MIB)
        file.write(b"changed")
        file.truncate(2 * MIB)
    assert (there / "copy" / "big").stat().st_size == 2 * MIB
    assert (there / "copy" / "big").read_bytes()[MIB : MIB + 7] == b"changed"
    with open(here / "copy" / "run", "a") as file:
        file.write("exit 1\n")
    assert (there / "copy" / "run").read_text() == "#!/bin/sh\nexit 1\n"
    os.symlink("copy/big", here / "link")
    os.replace(here / "copy" / "run", here / "copy" / "deep" / "file 1")
    os.chmod(here / "copy" / "big", 0o600)
    os.utime(here / "copy" / "big", (1_000_000_000, 1_000_000_000))
    assert os.readlink(there / "link") == "copy/big"
    assert (there / "copy" / "deep" / "file 1").read_text() == "#!/bin/sh\nexit 1\n"
    status = (there / "copy" / "big").stat()
    assert (status.st_mode & 0o777, status.st_mtime) == (0o600, 1_000_000_000)
    assert os.statvfs(here).f_blocks > 0
    with pytest.raises(FileNotFoundError):
        (here / "nothing").read_bytes()
    shutil.rmtree(here / "copy")
    assert sorted(os.listdir(there)) == ["link"]
