"""OpenSSH's regress suite with fastssh's programs in place of OpenSSH's: `make regress`.

    python -m scripts.regress                     the server's scripts: stock sshd, then fastsshd
    python -m scripts.regress --only connect,sftp --write

Debian's package openssh-tests has the scripts and their helpers. Each script runs in a copy of its own, with stock
programs for everything but the one under test. They are meant for an ordinary user; what stock fails as well, as
whoever runs them and on this machine, says nothing about fastssh. With --write the table goes into docs/regress.md.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.peers import PeerMissing, build_shim, free_port, openssh_version, program, sftp_server, user_name

ROOT = Path(__file__).resolve().parents[1]
SUITE = Path("/usr/lib/openssh/regress")
RESULTS = ROOT / "docs" / "regress.md"
SCRIPT_SECONDS = 900.0
LINES_SHOWN = 3  # of what a failed script said

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
    """How one script ended. ``words`` is what it said last."""

    script: str
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
    try:
        done = subprocess.run(
            command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=SCRIPT_SECONDS,
        )  # fmt: skip
        text, status = done.stdout.decode("utf-8", "replace"), done.returncode
    except subprocess.TimeoutExpired as error:
        text, status = (error.stdout or b"").decode("utf-8", "replace") + "\ntimed out", 1
    lines = [line for line in text.splitlines() if line.strip()]
    skipped = any(line.startswith("SKIPPED") for line in lines)
    outcome = "failed" if status else "skipped" if skipped else "passed"
    return Result(script, outcome, time.monotonic() - begun, " / ".join(lines[-LINES_SHOWN:]))


def stock_programs() -> dict[str, str]:
    found = {name.replace("-", "").upper(): program(name, "openssh-client") for name in
             ("ssh", "scp", "sftp", "ssh-agent", "ssh-add", "ssh-keygen", "ssh-keyscan")}  # fmt: skip
    return {**found, "SSHD": program("sshd", "openssh-server"), "SFTPSERVER": sftp_server()}


def table(stock: Sequence[Result], ours: Sequence[Result]) -> str:
    lines = [f"| script | {openssh_version()} | fastsshd | what it said |", "|---|---|---|---|"]
    for theirs, mine in zip(stock, ours, strict=True):
        words = mine.words.replace("|", "\\|") if mine.outcome != "passed" else ""
        lines.append(f"| {mine.script} | {theirs.outcome} | {mine.outcome} | {words} |")
    counted = [mine for theirs, mine in zip(stock, ours, strict=True) if theirs.outcome == "passed"]
    passed = sum(mine.outcome == "passed" for mine in counted)
    lines.append(f"\n{passed} of the {len(counted)} scripts that stock passes on this machine.")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", help="comma-separated scripts")
    parser.add_argument("--write", action="store_true", help=f"replace {RESULTS.relative_to(ROOT)}'s table")
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
    ours = {**stock, "SSHD": str(ROOT / ".venv" / "bin" / "fastsshd")}
    results: dict[str, list[Result]] = {"stock": [], "fastsshd": []}
    with tempfile.TemporaryDirectory(prefix="fastssh-regress-") as name:
        directory = options.keep or Path(name)
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o755)
        shim = build_shim(directory)
        for script in scripts:
            for who, programs in (("stock", stock), ("fastsshd", ours)):
                results[who].append(run_script(script, programs, shim, directory / who / script))
                result = results[who][-1]
                print(f"{script}: {who} {result.outcome} ({result.seconds:.0f} s) {result.words[:200]}", flush=True)
    shown = table(results["stock"], results["fastsshd"])
    print(f"\n{shown}")
    if options.write:
        head = RESULTS.read_text().partition("\n| script ")[0] if RESULTS.exists() else ""
        RESULTS.write_text(f"{head}\n{shown}\n")
    worse = [mine.script for theirs, mine in zip(*results.values(), strict=True)
             if (theirs.outcome, mine.outcome) == ("passed", "failed")]  # fmt: skip
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
