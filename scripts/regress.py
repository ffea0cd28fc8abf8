"""OpenSSH's regress suite with fastssh's programs in place of OpenSSH's: `make regress`.

    python -m scripts.regress                     the server's scripts: stock sshd, then fastsshd
    python -m scripts.regress --only connect,sftp --write

Debian's package openssh-tests has the scripts and their helpers. Each script runs in a copy of its own, with stock
programs for everything but the one under test. They are meant for an ordinary user; what stock fails as well, as
whoever runs them and on this machine, says nothing about fastssh.

Some scripts try each algorithm that `ssh -Q` names, and fail at the first that fastssh leaves out. Such a one runs a
third time, with an ssh that names only what fastssh has as well: so the rest of it is seen, too. With --write the
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
OFFERED = sorted({
    *algorithms.KEX, *algorithms.HOST_KEYS, *map(algorithms.key_type, algorithms.HOST_KEYS), *algorithms.CIPHERS,
    *algorithms.MACS,
})  # fmt: skip
# Every call of the suite is `ssh -E<log> ...`, so -Q may stand anywhere.
ASKED_SSH = """#!/bin/sh
case " $* " in
*" -Q "*) {ssh} "$@" | grep -Fx -f {offered} ;;
*) exec {ssh} "$@" ;;
esac
"""

# What concerns a server and needs neither a terminal nor PAM.
SERVER_SCRIPTS = (
    "connect", "proxy-connect", "exit-status", "exit-status-signal", "envpass", "transfer", "stderr-data",
    "stderr-after-eof", "broken-pipe", "yes-head", "banner", "try-ciphers", "kextype", "keytype", "rekey", "dhgex",
    "integrity", "login-timeout", "key-options", "forcecommand", "allow-deny-users", "authinfo", "multipubkey",
    "limit-keytype", "cfgmatch", "cfgmatchlisten", "cfgparse", "cfginclude", "servcfginclude", "addrmatch", "portnum",
    "cert-hostkey", "cert-userkey", "cert-file", "principals-command", "krl",
    "proto-version", "proto-mismatch", "reconfigure", "reexec", "keys-command", "forwarding", "dynamic-forward",
    "forward-control", "channel-timeout", "connection-timeout", "hostkey-rotate", "sftp", "sftp-cmds", "sftp-batch",
    "sftp-glob", "sftp-perm", "sftp-badcmds", "sftp-uri", "scp", "scp3", "scp-uri",
)  # fmt: skip


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


def asking_less(ssh: str, directory: Path) -> str:
    """An ssh whose -Q names only what fastssh has as well."""
    directory.mkdir(exist_ok=True)
    offered, program = directory / "offered", directory / "ssh"
    offered.write_text("".join(f"{name}\n" for name in OFFERED))
    program.write_text(ASKED_SSH.format(ssh=ssh, offered=offered))
    program.chmod(0o755)
    return str(program)


def asks(script: str) -> bool:
    """Whether it tries each algorithm that ssh names: of its own, or as the driver hands on kinds of keys."""
    return re.search(r"SSH\} -Q|SSH_KEYTYPES", (SUITE / f"{script}.sh").read_text()) is not None


def row(script: str, stock: Result, ours: Result, offered: Result | None) -> str:
    cells = [script, stock.outcome, ours.outcome, offered.outcome if offered else "", ours.words]
    if offered and offered.words:
        cells[-1] += f"; of what it offers: {offered.words}"
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def table(rows: dict[str, str]) -> str:
    """``rows`` in SERVER_SCRIPTS' order, and how many of those that stock passes passed."""
    order = [*(script for script in SERVER_SCRIPTS if script in rows), *sorted(set(rows) - set(SERVER_SCRIPTS))]
    cells = [[cell.strip() for cell in rows[script].split(" | ")] for script in order]
    counted = [row for row in cells if row[1] == "passed"]
    whole, offered = (sum(row[column] == "passed" for row in counted) for column in (2, 3))
    head = [f"| script | {openssh_version()} | fastsshd | of what it offers | why |", "|---|---|---|---|---|"]
    foot = (
        f"\nOf the {len(counted)} scripts that stock passes on this machine, {whole} pass whole and {offered} more in "
        "what fastsshd offers."
    )
    return "\n".join([*head, *(rows[script] for script in order), foot])


def rows_of(text: str) -> dict[str, str]:
    """The rows of a table as written before."""
    lines = [line for line in text.partition("\n| script ")[2].splitlines()[2:] if line.startswith("| ")]
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", help="comma-separated scripts")
    parser.add_argument("--write", action="store_true", help=f"put the rows into {RESULTS.relative_to(ROOT)}")
    parser.add_argument("--keep", type=Path, help="a folder for what the scripts leave behind")
    options = parser.parse_args(argv)
    scripts = tuple(options.only.split(",")) if options.only else SERVER_SCRIPTS
    try:
        if not SUITE.is_dir():
            raise PeerMissing("the regress suite is missing: apt-get install openssh-tests")
        stock = stock_programs()
    except PeerMissing as error:
        print(f"regress: {error}", file=sys.stderr)
        return 1
    rows: dict[str, str] = {}
    worse = False
    with tempfile.TemporaryDirectory(prefix="fastssh-regress-") as name:
        directory = options.keep or Path(name)
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o755)
        shim = build_shim(directory)
        ours = {**stock, "SSHD": str(ROOT / ".venv" / "bin" / "fastsshd")}
        less = {**ours, "SSH": asking_less(stock["SSH"], directory / "less")}

        def run(script: str, who: str, programs: dict[str, str]) -> Result:
            result = run_script(script, programs, shim, directory / who / script)
            print(f"{script}: {who} {result.outcome} ({result.seconds:.0f} s) {result.words}", flush=True)
            return result

        for script in scripts:
            theirs, mine = run(script, "stock", stock), run(script, "fastsshd", ours)
            offered = run(script, "offered", less) if mine.outcome == "failed" and asks(script) else None
            rows[script] = row(script, theirs, mine, offered)
            worse |= theirs.outcome == "passed" and (offered or mine).outcome == "failed"
    shown = table(rows)
    print(f"\n{shown}")
    if options.write:
        before = RESULTS.read_text() if RESULTS.exists() else ""
        head = before.partition("\n| script ")[0]
        RESULTS.write_text(f"{head}\n{table({**rows_of(before), **rows})}\n")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
