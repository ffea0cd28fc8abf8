"""fastssh-keygen's command line: ssh-keygen's options, read as getopt(3) reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from fastssh.cli.keygen import manual
from fastssh.cli.tool import Option, Section, Tool, UsageError

TOOL: Final = Tool(
    name="fastssh-keygen",
    summary="make, change, show and convert SSH keys",
    about="""Makes keys for SSH and changes, shows and converts them; looks after known_hosts files; makes \
certificates, revocation lists and signatures. Options, files, questions and output are those of ssh-keygen(1).

Without an option that says what to do a key pair is made: the private key in the file that is asked for, the public \
one beside it in a file with `.pub` at its end.""",
    forms=(
        ("[-q] [-a rounds] [-b bits] [-C comment] [-f output_keyfile] [-m format] [-N new_passphrase] "
         "[-t ecdsa | ed25519 | rsa] [-Z cipher]"),
        "-p [-a rounds] [-f keyfile] [-m format] [-N new_passphrase] [-P old_passphrase] [-Z cipher]",
        "-c [-a rounds] [-C comment] [-f keyfile] [-P passphrase]",
        "-y [-f input_keyfile] [-P passphrase]",
        "-l [-v] [-E fingerprint_hash] [-f input_keyfile]",
        "-B [-f input_keyfile]",
        "-e [-f input_keyfile] [-m key_format]",
        "-i [-f input_keyfile] [-m key_format]",
        "-F hostname [-lv] [-f known_hosts_file]",
        "-H [-f known_hosts_file]",
        "-R hostname [-f known_hosts_file]",
        "-r hostname [-g] [-f input_keyfile]",
        "-A [-a rounds] [-f prefix_path]",
        ("-I certificate_identity -s ca_key [-hqU] [-n principals] [-O option] [-t algorithm] [-V validity_interval] "
         "[-z serial_number] file ..."),
        "-L [-E fingerprint_hash] [-f input_keyfile]",
        "-k -f krl_file [-qu] [-C comment] [-s ca_public] [-z version_number] file ...",
        "-Q [-l] -f krl_file [file ...]",
        "-Y sign [-qU] [-O option] -f key_file -n namespace [file ...]",
        ("-Y verify [-q] [-O option] -f allowed_signers_file -I signer_identity -n namespace -s signature_file "
         "[-r revocation_file]"),
        "-Y check-novalidate [-q] [-O option] -n namespace -s signature_file",
        "-Y find-principals [-O option] -f allowed_signers_file -s signature_file",
        "-Y match-principals -f allowed_signers_file -I signer_identity",
    ),
    options=(
        Option("-t", "type of the key to make: `ed25519` (the default), `ecdsa` or `rsa`", "type",
               "The names of the types on the wire are taken as well. With `-s` the algorithm that an RSA authority "
               "signs with. Keys of security tokens (`ed25519-sk`, `ecdsa-sk`) are made by ssh-keygen(1); DSA is too "
               "weak to be made.", completes="ed25519 ecdsa rsa"),
        Option("-b", "bits of the key: RSA 1024 to 16384 (default 3072), ECDSA 256, 384 or 521", "bits"),
        Option("-f", "file of the key, or the known_hosts file", "file",
               "With `-l` and `-B` a `-` is standard input. With `-A` the folder that `etc/ssh` is in.",
               completes="file"),
        Option("-C", "comment of the key; by default user@host", "comment"),
        Option("-N", "the new passphrase, instead of asking for it", "new_passphrase",
               "Others on the machine may see it among the processes."),
        Option("-P", "the passphrase that the key has, instead of asking for it", "passphrase"),
        Option("-a", "rounds of bcrypt that make a passphrase slow to guess (default 24)", "rounds"),
        Option("-Z", "cipher of the private key file (default `aes256-ctr`)", "cipher", completes="cipher"),
        Option("-m", "format: `RFC4716`, `PKCS8` or `PEM`", "format",
               "Of public keys with `-e` and `-i`, of the private key where one is written: `PEM` is PKCS#1 or SEC1, "
               "and `RFC4716` means OpenSSH's own format, which is the default.", completes="RFC4716 PKCS8 PEM"),
        Option("-q", "say nothing that is no answer"),
        Option("-v", "with `-l`: show the picture of the fingerprint as well"),
        Option("-p", "change the passphrase of a private key"),
        Option("-c", "change the comment of a private key and its public one"),
        Option("-y", "print the public key of a private key"),
        Option("-l", "print fingerprints", "", "The file may be a public or private key, a certificate, an "
               "authorized_keys or a known_hosts file."),
        Option("-E", "hash of fingerprints: `sha256` (the default) or `md5`", "hash", completes="sha256 md5"),
        Option("-B", "print fingerprints in bubblebabble"),
        Option("-e", "print the public key in another format (`-m`), RFC4716 by default"),
        Option("-i", "print a key in another format (`-m`) as OpenSSH writes it"),
        Option("-F", "print the lines of a known_hosts file that match a host; exit with 1 if none does", "host",
               "The host is a name, an address or `[name]:port`. With `-l` fingerprints are printed, with `-H` the "
               "names hashed."),
        Option("-R", "remove a host's keys from a known_hosts file", "host", "What was there stays in a file with "
               "`.old` at its end. Lines that begin with `@cert-authority` or `@revoked` stay."),
        Option("-H", "hash the names of a known_hosts file", "", "What was there stays in a file with `.old` at its "
               "end: delete it. Names with wildcards stay as they are."),
        Option("-r", "print SSHFP records (RFC 4255) of a key for DNS", "hostname",
               "Without `-f` of the machine's host keys. `-O hashalg=sha1` or `-O hashalg=sha256` prints the records "
               "of one hash."),
        Option("-g", "with `-r`: in the format of unknown records (RFC 3597)"),
        Option("-A", "make the machine's host keys that are missing"),
        Option("-s", "certify public keys with the private key of an authority", "ca_key",
               "Each operand is a public key, whose certificate is written beside it with `-cert.pub` at its end.",
               completes="file"),
        Option("-I", "identity of the certificate, which servers log", "certificate_identity"),
        Option("-h", "certify keys of hosts instead of users' keys"),
        Option("-n", "whom the certificate is for: names of users, or of hosts, comma-separated", "principals",
               "Without it the certificate is for nobody."),
        Option("-V", "when the certificate is valid; always by default", "validity_interval",
               "A length from now on (`+52w`), or from and to with a colon between: lengths (`-1d:+5d`), times "
               "(`20270101:202702011200Z`; local time but for `Z`), seconds since 1970 (`0x...`), `always` and "
               "`forever`."),
        Option("-z", "serial number of the certificate; with `+` before it the next ones follow for further keys",
               "serial_number"),
        Option("-U", "the authority's private key is in the agent, and -s names its public key"),
        Option("-L", "print what certificates say"),
        Option("-k", "make a key revocation list of what files revoke", "", "The operands are files of public keys and "
               "certificates, or specifications with a line for each entry: `serial:`, `id:`, `key:`, `sha1:`, "
               "`sha256:`, `hash:`. With `-s` a public key whose certificates the first two are about, or `none` for "
               "those of any authority; `-z` is the number of the list, and `-C` its comment."),
        Option("-u", "with -k: add to the list that is there"),
        Option("-Q", "tell whether keys are revoked by the list of -f; with -l what it has", "",
               "The exit status is 1 when one of them is."),
        Option("-Y", "sign files and verify their signatures", "work",
               "`sign` writes a signature of each operand beside it in a file with `.sig` at its end, or one of "
               "standard input to standard output; with `-U` the key has to be in the agent. `verify` says whether "
               "`-s` is a signature of standard input that the signer of `-I` may make, by the allowed signers of "
               "`-f` and what `-r` revokes. `check-novalidate` does not ask whose it is. `find-principals` prints "
               "whom the key of a signature may sign for, and `match-principals` the patterns that a signer matches.",
               completes="sign verify check-novalidate find-principals match-principals"),
        Option("-O", "a further option of what is done", "option",
               "With `-s`: `clear` takes all permissions away; `no-agent-forwarding`, `no-port-forwarding`, `no-pty`, "
               "`no-user-rc`, `no-x11-forwarding` take one, and with `permit-` give it; `force-command=command`; "
               "`source-address=networks`; `no-touch-required` and `verify-required` for security keys; "
               "`critical:name[=contents]` and `extension:name[=contents]` for others. With `-Y`: `hashalg=sha256` or "
               "`hashalg=sha512` for `sign`, `verify-time=time` and `print-pubkey` for the others."),
        *(Option(flag, "", value) for flag, value in (
            ("-D", "library"), ("-K", ""), ("-M", "work"),
            ("-X", ""), ("-o", ""),
            ("-w", "provider"))),
    ),
    sections=(
        *manual.SECTIONS,
        Section("FILES", "`~/.ssh/id_ed25519`, `~/.ssh/id_ecdsa`, `~/.ssh/id_rsa`: private keys, which nobody else "
                "may read; the public ones are beside them with `.pub` at the end.\n\n"
                "`~/.ssh/known_hosts`: keys of hosts.\n\n"
                "`/etc/ssh/ssh_host_ed25519_key`, `/etc/ssh/ssh_host_ecdsa_key`, `/etc/ssh/ssh_host_rsa_key`: "
                "host keys of the machine."),
        Section("ENVIRONMENT", "`SSH_ASKPASS`, `SSH_ASKPASS_REQUIRE`: as in ssh(1), a program that asks for "
                "passphrases.\n\n`FASTSSH_DEBUG=1` shows where an unexpected error came from."),
        Section("EXIT STATUS", "The exit status is 0 when all was done, 1 when a host was not found, a question was "
                "answered with no, or the command line was wrong, and 255 after other failures.", help=True),
        Section("EXAMPLES", "`fastssh-keygen -t ed25519 -C work`\n\n`fastssh-keygen -p -f ~/.ssh/id_rsa`\n\n"
                "`fastssh-keygen -lv -f ~/.ssh/id_ed25519.pub`\n\n`fastssh-keygen -R '[host.example.org]:2222'`"),
    ),
    see_also=("ssh-keygen(1)", "fastssh(1)", "ssh(1)", "ssh-agent(1)", "sshd(8)"),
)  # fmt: skip

FORMATS: Final = ("RFC4716", "PKCS8", "PEM")
_HASHES: Final = ("sha256", "md5", "sha1", "sha384", "sha512")  # fingerprint.HASHES, without what it imports
_BITS_MAX: Final = 2**32 - 1
_ROUNDS_MAX: Final = 2**31 - 1


class Arguments:
    """A command line that makes sense; a field each option, and ``operands``. Several say what is to be done: see
    :data:`fastssh.cli.keygen.actions.ACTIONS`."""

    # what is to be done
    change_passphrase: bool = False
    change_comment: bool = False
    print_public: bool = False
    print_fingerprint: bool = False
    bubblebabble: bool = False
    export: bool = False
    import_key: bool = False
    find_host: str | None = None
    remove_host: str | None = None
    hash_hosts: bool = False
    hostname: str | None = None  # -r
    host_keys: bool = False
    moduli: str | None = None
    pkcs11: str | None = None
    download: bool = False
    print_certificate: bool = False
    ca_key: str | None = None
    make_krl: bool = False
    check_krl: bool = False
    signature: str | None = None  # -Y
    # how
    type: str | None = None
    bits: int | None = None
    file: str | None = None
    comment: str | None = None
    new_passphrase: str | None = None
    passphrase: str | None = None
    rounds: int | None = None
    cipher: str | None = None
    format: str | None = None  # one of FORMATS
    hash: str = "sha256"
    quiet: bool = False
    verbosity: int = 0
    generic: bool = False
    certificate_id: str | None = None
    host_certificate: bool = False
    principals: str | None = None
    serial: str | None = None
    validity: str | None = None
    use_agent: bool = False
    update_krl: bool = False
    provider: str | None = None

    def __init__(self) -> None:
        self.operands: list[str] = []
        self.options: list[str] = []


class _Meaning(NamedTuple):
    """What an option does to the Arguments: ``name`` becomes what ``read`` makes of the value, True without it."""

    name: str
    read: Callable[[str], Any] | None = None


def read(argv: list[str]) -> Arguments:
    """The arguments in ``argv`` (without the program's name). Raises UsageError, Asked."""
    options, operands = TOOL.parse(argv)
    found = Arguments()
    found.operands = operands
    for flag, value in options:
        if flag == "-v":
            found.verbosity += 1
        elif flag == "-O":
            found.options.append(value)
        elif flag != "-o":  # OpenSSH's own format, which is the default
            meaning = _MEANINGS[flag]
            setattr(found, meaning.name, True if meaning.read is None else meaning.read(value))
    _check(found)
    return found


def _check(found: Arguments) -> None:
    """What does not go together, in the order that ssh-keygen looks for it."""
    wants_operands = found.signature or found.ca_key or found.make_krl or found.check_krl or found.moduli
    if found.operands and not wants_operands and not found.print_certificate:
        raise UsageError("Too many arguments.", usage=True)
    if found.change_passphrase and found.change_comment:
        raise UsageError("Can only have one of -p and -c.", usage=True)
    if found.print_fingerprint and (found.remove_host is not None or (found.hash_hosts and found.find_host is None)):
        raise UsageError("Cannot use -l with -H or -R.", usage=True)


def read_number(text: str, low: int, high: int) -> int:
    """A decimal number as strtonum(3) takes it, of ``low`` to ``high``. ValueError says in its words why not."""
    digits = text.strip()
    sign = digits[:1] in ("+", "-")
    if not digits[sign:].isascii() or not digits[sign:].isdigit():
        raise ValueError("invalid")
    # More digits than the bound has make it too large, however many: none of them is converted.
    number = int(digits) if len(digits) <= 20 else (low - 1 if digits[0] == "-" else high + 1)
    if not low <= number <= high:
        raise ValueError("too small" if number < low else "too large")
    return number


def _number(text: str, low: int, high: int, words: str) -> int:
    try:
        return read_number(text, low, high)
    except ValueError as error:
        raise UsageError(words.format(text=text, why=error), status=255) from None


def _bits(text: str) -> int:
    return _number(text, 1, _BITS_MAX, "Bits has bad value {text} ({why})")


def _rounds(text: str) -> int:
    return _number(text, 1, _ROUNDS_MAX, "Invalid number: {text} ({why})")


def _format(text: str) -> str:
    if text.upper() not in FORMATS:
        raise UsageError(f'Unsupported conversion format "{text}"', status=255)
    return text.upper()


def _hash(text: str) -> str:
    if text.lower() not in _HASHES:
        raise UsageError(f'Invalid hash algorithm "{text}"', status=255)
    return text.lower()


_MEANINGS: Final = {
    "-A": _Meaning("host_keys"),
    "-B": _Meaning("bubblebabble"),
    "-C": _Meaning("comment", str),
    "-D": _Meaning("pkcs11", str),
    "-E": _Meaning("hash", _hash),
    "-F": _Meaning("find_host", str),
    "-H": _Meaning("hash_hosts"),
    "-I": _Meaning("certificate_id", str),
    "-K": _Meaning("download"),
    "-L": _Meaning("print_certificate"),
    "-M": _Meaning("moduli", str),
    "-N": _Meaning("new_passphrase", str),
    "-P": _Meaning("passphrase", str),
    "-Q": _Meaning("check_krl"),
    "-R": _Meaning("remove_host", str),
    "-U": _Meaning("use_agent"),
    "-V": _Meaning("validity", str),
    "-X": _Meaning("import_key"),
    "-Y": _Meaning("signature", str),
    "-Z": _Meaning("cipher", str),
    "-a": _Meaning("rounds", _rounds),
    "-b": _Meaning("bits", _bits),
    "-c": _Meaning("change_comment"),
    "-e": _Meaning("export"),
    "-f": _Meaning("file", str),
    "-g": _Meaning("generic"),
    "-h": _Meaning("host_certificate"),
    "-i": _Meaning("import_key"),
    "-k": _Meaning("make_krl"),
    "-l": _Meaning("print_fingerprint"),
    "-m": _Meaning("format", _format),
    "-n": _Meaning("principals", str),
    "-p": _Meaning("change_passphrase"),
    "-q": _Meaning("quiet"),
    "-r": _Meaning("hostname", str),
    "-s": _Meaning("ca_key", str),
    "-t": _Meaning("type", str),
    "-u": _Meaning("update_krl"),
    "-w": _Meaning("provider", str),
    "-y": _Meaning("print_public"),
    "-z": _Meaning("serial", str),
}
