"""OpenSSH's regress suite with fastssh's programs in place of OpenSSH's: `make regress`.

    python -m scripts.regress                     every program in turn, each with its scripts, beside stock
    python -m scripts.regress fastsshd fastssh    those alone
    python -m scripts.regress fastssh --only connect,rekey --write

Debian's package openssh-tests has the scripts and their helpers. Each script runs in a copy of its own, with stock
programs for everything but the one under test; "all" puts all of ours in their place. They are meant for an ordinary
user; what stock fails as well, as whoever runs them and on this machine, says nothing about fastssh.

Some scripts try each algorithm that `ssh -Q` names, and fail at the first that fastsshd leaves out. Such a one runs a
third time, with an ssh that names only what fastsshd has as well: so the rest of it is seen, too. With --write the
rows of the scripts that ran are put into docs/regress.md.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastssh import algorithms
from tests.support.peers import PeerMissing, build_shim, free_port, openssh_version, program, sftp_server, user_name

ROOT = Path(__file__).resolve().parents[1]
SUITE = Path("/usr/lib/openssh/regress")
RESULTS = ROOT / "docs" / "regress.md"
SCRIPT_SECONDS = 900.0
LINES_SHOWN = 3  # of what a failed script said
LONGEST = 120  # characters of each
_KEY_TYPES = {*algorithms.HOST_KEYS, *map(algorithms.key_type, algorithms.HOST_KEYS)}
OFFERED = sorted({
    *algorithms.KEX, *_KEY_TYPES, *map(algorithms.certificate_algorithm, _KEY_TYPES), *algorithms.CIPHERS,
    *algorithms.MACS,
})  # fmt: skip
ASKING = ("fastsshd", "fastssh", "fastssh-keyscan")  # run again with what the other side has as well
# Every call of the suite is `ssh -E<log> ...`, so -Q may stand anywhere.
ASKED_SSH = """#!/bin/sh
case " $* " in
*" -Q "*) {ssh} "$@" | grep -Fx -f {offered} ;;
*) exec {ssh} "$@" ;;
esac
exit
"""

LAUNCHER_BYTES = 4 * 1024 * 1024  # the suite copies its ssh about as the data of its transfers
# After exec the shell reads nothing more of it.
LAUNCHER = """#!/bin/sh
exec {program} "$@"
"""

_EVERYDAY = (
    "connect", "proxy-connect", "exit-status", "envpass", "transfer", "stderr-data", "yes-head", "banner",
    "try-ciphers", "kextype", "keytype", "rekey", "integrity",
)  # fmt: skip
_SFTP = ("sftp", "sftp-cmds", "sftp-batch", "sftp-glob", "sftp-perm", "sftp-badcmds", "sftp-uri")
_SCP = ("scp", "scp3", "scp-uri")


@dataclass(frozen=True)
class Role:
    """A program of ours in OpenSSH's place: which variables of the suite name it, and the scripts that it matters to,
    as far as they need neither PAM nor devices."""

    name: str
    programs: dict[str, str]
    scripts: tuple[str, ...]


ROLES = (
    Role("fastsshd", {"SSHD": "fastsshd"}, (
        "connect", "proxy-connect", "exit-status", "exit-status-signal", "envpass", "transfer", "stderr-data",
        "stderr-after-eof", "broken-pipe", "yes-head", "banner", "try-ciphers", "kextype", "keytype", "rekey", "dhgex",
        "integrity", "login-timeout", "key-options", "forcecommand", "allow-deny-users", "authinfo", "multipubkey",
        "limit-keytype", "cfgmatch", "cfgmatchlisten", "cfgparse", "cfginclude", "servcfginclude", "addrmatch",
        "portnum", "cert-hostkey", "cert-userkey", "cert-file", "principals-command", "krl", "proto-version",
        "proto-mismatch", "reconfigure", "reexec", "keys-command", "forwarding", "dynamic-forward", "forward-control",
        "channel-timeout", "connection-timeout", "hostkey-rotate", *_SFTP, *_SCP,
    )),
    Role("fastssh", {"SSH": "fastssh"}, (
        *_EVERYDAY, "exit-status-signal", "stderr-after-eof", "broken-pipe", "dhgex", "connect-uri", "knownhosts",
        "knownhosts-command", "hostkey-rotate", "host-expand", "localcommand", "login-timeout", "forwarding",
        "dynamic-forward", "forward-control", "multiplex", "percent", "sshcfgparse", "cfginclude", "cfgparse",
        "multipubkey", "key-options", "portnum", "proto-version", "proto-mismatch", "agent", "agent-restrict",
        "cert-hostkey", "cert-userkey", "cert-file", "principals-command", "keys-command", "limit-keytype",
    )),
    Role("fastssh-scp", {"SCP": "fastssh-scp"}, _SCP),
    Role("fastssh-sftp", {"SFTP": "fastssh-sftp"}, _SFTP),
    Role("fastssh-keygen", {"SSHKEYGEN": "fastssh-keygen"}, (
        "keygen-change", "keygen-convert", "keygen-comment", "keygen-knownhosts", "keygen-sshfp", "krl", "sshsig",
        "cert-hostkey", "cert-userkey", "cert-file", "principals-command", "keytype", "connect", "agent",
    )),
    Role("fastssh-keyscan", {"SSHKEYSCAN": "fastssh-keyscan"}, ("keyscan",)),
    Role("all", {
        "SSHD": "fastsshd", "SSH": "fastssh", "SCP": "fastssh-scp", "SFTP": "fastssh-sftp",
        "SSHKEYGEN": "fastssh-keygen", "SSHKEYSCAN": "fastssh-keyscan",
    }, (*_EVERYDAY, *_SFTP, *_SCP, "forwarding", "dynamic-forward", "multiplex", "knownhosts", "keyscan")),
)


@dataclass(frozen=True)
class Result:
    """How one script ended. ``words`` is why it failed, or was skipped."""

    outcome: str  # "passed", "failed", "skipped"
    seconds: float
    words: str


def run_script(script: str, programs: dict[str, str], shim: Path, directory: Path) -> Result:
    """One script of the suite in ``directory``, which is made for it. ``shim`` gives the account a shell."""
    shutil.copytree(SUITE, directory)
    shutil.rmtree(directory / "misc" / "sk-dummy", ignore_errors=True)  # security keys that exist for the suite alone
    driver = directory / "test-exec.sh"  # PAM, which Debian switches on here, prints its motd among the scripts' data
    driver.write_text(re.sub(r"(?m)^(\s*UsePAM\s+)yes$", r"\1no", driver.read_text()))
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin",
        "HOME": str(directory),
        "LD_PRELOAD": str(shim),
        "SHIM_USER": user_name(),
        "SHIM_HOME": str(directory),
        "BUILDDIR": str(directory),
        "TEST_SHELL": "sh",
        "TEST_SSH_PORT": str(free_port()),
        "TEST_SSH_UNSAFE_PERMISSIONS": "1",
        **{f"TEST_SSH_{name}": path for name, path in programs.items()},
    }
    begun = time.monotonic()
    command = ["sh", "test-exec.sh", str(directory), str(directory / f"{script}.sh")]
    said = directory / "said"  # no pipe: what a script leaves running in the background would hold it open
    with open(said, "wb") as sink:
        process = subprocess.Popen(
            command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            status = process.wait(SCRIPT_SECONDS)
        except subprocess.TimeoutExpired:
            status = 1
            sink.write(b"\ntimed out\n")
        finally:
            with contextlib.suppress(ProcessLookupError):  # with all that it left
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    text = said.read_text("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.strip()]
    skipped = [line for line in lines if line.startswith("SKIPPED")]
    if status:
        words = "timed out" if lines[-1:] == ["timed out"] else _reasons(directory) or " / ".join(lines[-LINES_SHOWN:])
        return Result("failed", time.monotonic() - begun, words)
    return Result("skipped" if skipped else "passed", time.monotonic() - begun, " / ".join(skipped))


def _reasons(directory: Path) -> str:
    """What the script gave as its reasons, in its log."""
    try:
        log = (directory / "failed-regress.log").read_text(errors="replace")
    except FileNotFoundError:
        return ""
    found = re.findall(r"(?m)^(?:FAIL|FATAL): (.*)$", log)
    told = [textwrap.shorten(words.replace(f"{directory}/", ""), LONGEST) for words in found]
    more = f" (and {len(told) - LINES_SHOWN} more)" if len(told) > LINES_SHOWN else ""
    return " / ".join(dict.fromkeys(told[:LINES_SHOWN])) + more


def stock_programs() -> dict[str, str]:
    found = {name.replace("-", "").upper(): program(name, "openssh-client") for name in
             ("ssh", "scp", "sftp", "ssh-agent", "ssh-add", "ssh-keygen", "ssh-keyscan")}  # fmt: skip
    return {**found, "SSHD": program("sshd", "openssh-server"), "SFTPSERVER": sftp_server()}


def asking_less(ssh: str, directory: Path, offered_names: Sequence[str]) -> str:
    """An ssh whose -Q names only what the other side has as well."""
    directory.mkdir(exist_ok=True)
    offered, program = directory / "offered", directory / "ssh"
    offered.write_text("".join(f"{name}\n" for name in offered_names))
    program.write_bytes(ASKED_SSH.format(ssh=ssh, offered=offered).encode() + os.urandom(LAUNCHER_BYTES))
    program.chmod(0o755)
    return str(program)


def launcher(program: str, directory: Path) -> str:
    """A file of the size of a real ssh that starts ``program``."""
    directory.mkdir(exist_ok=True)
    path = directory / program
    text = LAUNCHER.format(program=ROOT / ".venv" / "bin" / program).encode()
    path.write_bytes(text + os.urandom(LAUNCHER_BYTES))
    path.chmod(0o755)
    return str(path)


def asks(script: str) -> bool:
    """Whether it tries each algorithm that ssh names: of its own, or as the driver hands on kinds of keys."""
    return re.search(r"SSH\} -Q|SSH_KEYTYPES", (SUITE / f"{script}.sh").read_text()) is not None


def row(script: str, stock: Result, ours: Result, offered: Result | None) -> str:
    cells = [script, stock.outcome, ours.outcome, offered.outcome if offered else "", ours.words]
    if offered and offered.words:
        cells[-1] += f"; of what it offers: {offered.words}"
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def table(role: Role, rows: dict[str, str]) -> str:
    """``rows`` in the role's order, and how many of those that stock passes passed."""
    order = [*(script for script in role.scripts if script in rows), *sorted(set(rows) - set(role.scripts))]
    cells = [[cell.strip() for cell in rows[script].split(" | ")] for script in order]
    counted = [row for row in cells if row[1] == "passed"]
    whole, offered = (sum(row[column] == "passed" for row in counted) for column in (2, 3))
    head = [f"| script | {openssh_version()} | {role.name} | of what it offers | why |", "|---|---|---|---|---|"]
    more = f", and {offered} more in what it offers" if offered else ""
    foot = f"\nOf the {len(counted)} scripts that stock passes on this machine, {whole} pass whole{more}."
    return "\n".join([*head, *(rows[script] for script in order), foot])


def sections_of(text: str) -> dict[str, str]:
    """What is written below each heading of docs/regress.md; below "" what comes before the first."""
    parts = re.split(r"(?m)^## (.+)\n", f"\n{text}")
    return {"": parts[0].lstrip("\n"), **dict(zip(parts[1::2], parts[2::2], strict=True))}


def rows_of(text: str) -> dict[str, str]:
    """The rows of a table as written before."""
    lines = [line for line in text.partition("\n| script ")[2].splitlines()[2:] if line.startswith("| ")]
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines}


def write(role: Role, rows: dict[str, str]) -> None:
    """Puts ``rows`` into the table of the role's section, whose text stays."""
    sections = sections_of(RESULTS.read_text())
    before = f"\n{sections.get(role.name, '')}"
    prose = before.partition("\n| script ")[0].strip("\n")
    merged = table(role, {**rows_of(before), **rows})
    sections[role.name] = f"\n{prose}\n\n{merged}\n\n" if prose else f"\n{merged}\n\n"
    names = [each.name for each in ROLES if each.name in sections]
    RESULTS.write_text(sections[""] + "".join(f"## {name}\n{sections[name]}" for name in names).rstrip("\n") + "\n")


class Suite:
    """Runs scripts in ``directory`` with stock programs, and with those of a role."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._shim = build_shim(directory)
        self._stock = stock_programs()
        self._stock_results: dict[str, Result] = {}

    def run(self, role: Role, scripts: Sequence[str]) -> tuple[dict[str, str], bool]:
        """The rows of ``scripts``, and whether one failed that stock passes."""
        launchers = self._directory / "launchers"
        ours = {**self._stock, **{name: launcher(program, launchers) for name, program in role.programs.items()}}
        offered_names = OFFERED if role.name != "fastssh" else self._stock_offers()
        less = {**ours, "SSH": asking_less(ours["SSH"], self._directory / "less", offered_names)}
        rows: dict[str, str] = {}
        worse = False
        for script in scripts:
            if script not in self._stock_results:
                self._stock_results[script] = self._script(script, "stock", self._stock)
            theirs, mine = self._stock_results[script], self._script(script, role.name, ours)
            # With our keygen each script asks: the driver makes a key of each type that -Q names.
            asked = role.name == "fastssh-keygen" or (role.name in ASKING and asks(script))
            again = asked and mine.outcome == "failed"
            offered = self._script(script, "offered", less) if again else None
            rows[script] = row(script, theirs, mine, offered)
            worse |= theirs.outcome == "passed" and (offered or mine).outcome == "failed"
        return rows, worse

    def _stock_offers(self) -> list[str]:
        kinds = ("cipher", "mac", "kex", "key", "sig")
        asked = [[self._stock["SSH"], "-Q", kind] for kind in kinds]
        return [name for command in asked for name in subprocess.check_output(command, text=True, timeout=20).split()]

    def _script(self, script: str, who: str, programs: dict[str, str]) -> Result:
        result = run_script(script, programs, self._shim, self._directory / who / script)
        print(f"{script}: {who} {result.outcome} ({result.seconds:.0f} s) {result.words}", flush=True)
        return result


def main(argv: Sequence[str] | None = None) -> int:
    known = {role.name: role for role in ROLES}
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("roles", nargs="*", choices=[*known, []], help="programs of ours; by default all in turn")
    parser.add_argument("--only", help="comma-separated scripts")
    parser.add_argument("--write", action="store_true", help=f"put the rows into {RESULTS.relative_to(ROOT)}")
    parser.add_argument("--keep", type=Path, help="a folder for what the scripts leave behind")
    options = parser.parse_args(argv)
    worse = False
    with tempfile.TemporaryDirectory(prefix="fastssh-regress-") as name:
        directory = options.keep or Path(name)
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o755)
        try:
            if not SUITE.is_dir():
                raise PeerMissing("the regress suite is missing: apt-get install openssh-tests")
            suite = Suite(directory)
        except PeerMissing as error:
            print(f"regress: {error}", file=sys.stderr)
            return 1
        for role in [known[each] for each in options.roles] or ROLES:
            rows, failed = suite.run(role, options.only.split(",") if options.only else role.scripts)
            worse |= failed
            print(f"\n{table(role, rows)}\n")
            if options.write:
                write(role, rows)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
