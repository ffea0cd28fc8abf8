"""What only the manual page of fastssh-keygen says of certificates, revocation lists and signatures."""

from __future__ import annotations

from typing import Final

from fastssh.cli.tool import Section

_CERTIFICATES: Final = """\
A certificate is a public key, whom it is for and until when, signed by an authority. Who trusts the authority need not
know the keys: a server by TrustedUserCAKeys of sshd_config(5) or `cert-authority` in authorized_keys, a client by
`@cert-authority` in known_hosts.

    $ fastssh-keygen -t ed25519 -f authority
    $ fastssh-keygen -s authority -I "ann's laptop" -n ann -V +8h id_ed25519.pub
    $ fastssh-keygen -s authority -I web1 -h -n web1.example.org host_key.pub
    $ fastssh-keygen -L -f id_ed25519-cert.pub

The certificate stands beside its key, where ssh(1) and sshd(8) find it. A user's certificate permits what its
extensions say: by default everything that a login may do. Options (-O) for users:

`clear`
  Takes all permissions away; what is wanted follows.

`no-agent-forwarding`, `no-port-forwarding`, `no-pty`, `no-user-rc`, `no-x11-forwarding`
  Take one permission. With `permit-` in place of `no-` it is given.

`force-command=command`
  This command runs, whatever the user asks for.

`source-address=networks`
  Addresses and networks, comma-separated, that the certificate may be used from.

`no-touch-required`
  A security key need not show that somebody touched it.

`verify-required`
  A security key has to show that it knew who touched it.

`critical:name[=contents]`, `extension:name[=contents]`
  Options of other programs. A server that does not know a critical one refuses the certificate.

With -U the private key of the authority is in the agent, and `-s` names the public one."""

_REVOCATION: Final = """\
A key revocation list (KRL) is a short binary file of keys and certificates that are refused, for RevokedKeys of
sshd_config(5) and for -r of `-Y verify`. What it revokes stands in files of public keys and certificates, or in
specifications with these lines:

`serial: number[-number]`
  Certificates with this serial number, or with those from one to the other; decimal, with `0x` hexadecimal, with `0`
  octal. The authority is that of `-s`.

`id: identity`
  Certificates with this identity of that authority.

`key: public_key`
  A key by all of its bytes; of a certificate its key.

`sha1: public_key`, `sha256: public_key`
  A key by its hash.

`hash: fingerprint`
  A key by its fingerprint, `SHA256:...`.

A comment begins with `#`. A certificate without one of these words is revoked by its serial number, or if it has
none by its identity; any other key by its bytes. `-s none` is about the certificates of any authority.

    $ fastssh-keygen -k -f revoked -s authority.pub specification old-key.pub
    $ fastssh-keygen -k -u -f revoked another.pub
    $ fastssh-keygen -Q -f revoked some-key.pub"""

_SIGNERS: Final = """\
`-Y sign` signs any file for a namespace: a word for what the signature is meant for, such as `file`, `git`, or
`name@example.org`. A signature for another one is no signature. `-Y verify` asks a file of allowed signers, each
line of which has fields with blanks between:

    ann@example.org,bob@example.org ssh-ed25519 AAAA...
    *@example.org cert-authority,namespaces="git" ssh-ed25519 AAAA...
    eve@example.org valid-before="20270101Z" ssh-ed25519 AAAA...

The first has patterns for signers (PATTERNS in ssh_config(5)), options may follow, then comes the key:

`cert-authority`
  The key certifies others, whose certificates have to name the signer.

`namespaces=patterns`
  The key signs for these alone.

`valid-after=time`, `valid-before=time`
  The key signs no earlier, no later: `YYYYMMDD[HHMM[SS]][Z]`, in local time but for `Z`.

A line that is not understood allows nobody.

    $ fastssh-keygen -Y sign -f ~/.ssh/id_ed25519 -n file report.pdf
    $ fastssh-keygen -Y verify -f allowed -I ann@example.org -n file -s report.pdf.sig < report.pdf
    $ git config gpg.format ssh
    $ git config gpg.ssh.program fastssh-keygen"""

SECTIONS: Final = (
    Section("CERTIFICATES", _CERTIFICATES),
    Section("KEY REVOCATION LISTS", _REVOCATION),
    Section("ALLOWED SIGNERS", _SIGNERS),
)
