"""What only the manual page of fastsshd says."""

from __future__ import annotations

from typing import Final

from fastssh.cli.tool import Section

MORE: Final = """\
Started by root it reads `/etc/ssh/sshd_config` unless -f names another file, and serves the accounts of the system.
Started by an ordinary user it serves that user alone, and prints one line with its address, its port and the
fingerprint of its key. Without -D, -d, -i and those options that only print something it leaves the terminal once it
listens. -b, -k, -Q, -R, -r and -u are taken and mean nothing."""

_PROCESSES: Final = """\
The first process only listens and limits. Each connection is served by a process of its own, forked from it. A
connection's process runs as root until somebody has logged in, and then as that user for good.

Before the login LoginGraceTime, MaxAuthTries, MaxStartups, PerSourceMaxStartups and PerSourcePenalties hold, all of
them unless they are turned off. A process that does not end after the grace time is killed.

SIGHUP reads the configuration again. Addresses that are still listened on never stop being so, and connections go on. A
configuration that cannot be read is logged, and the old one stays. SIGTERM, SIGINT and SIGQUIT end the server and those
connections that nobody has logged in on. The others go on."""

_AUTHENTICATION: Final = """\
Public keys are looked up in the files of AuthorizedKeysFile, which are opened with the user's rights, and with
AuthorizedKeysCommand. All options of sshd(8) are understood; a line with one that is not authorises nobody.

Certificates are taken of authorities in TrustedUserCAKeys, and of those that authorized_keys names with
`cert-authority`. They must be of the user, valid, and name the user or one of its principals, whole; one that names
nobody is refused, and so is one with a critical option other than `force-command`, `source-address` and
`verify-required`. Security keys (`sk-`) sign with a touch, unless `no-touch-required` stands in authorized_keys or, for
a certificate, in it and in the line that trusts its authority, if there is one; with `verify-required` they must have
verified who touched them. What was asked for is permitted where the certificate and whoever trusts its authority permit
it.

Passwords are those of a UsersFile, or PAM's with UsePAM. With KbdInteractiveAuthentication they may be given to
keyboard-interactive as well, where PAM asks what its modules for the service `sshd` ask, whatever that is. The account
is PAM's to refuse, whatever it is logged in to with, keys included; sessions of PAM are not opened. Without PAM a
server with UsePAM does not start, unless it has a UsersFile. Without a users file and without UsePAM they are refused,
and the log says so when the server starts. Empty passwords are never taken.

With UseDNS a client's name counts for Match Host, AllowUsers, DenyUsers and `from=` if it leads back to the address,
and was found within ten seconds of the connection.

An account that is locked or has expired, or whose shell cannot be run, and everybody but root while `/etc/nologin` is
there, are answered as a user that does not exist."""

_USERS_FILE: Final = """\
UsersFile, a setting that sshd(8) does not have, names users of an SFTP service. Each of its lines is

    name:hash:root:ro|rw[:keys_file]

with a bcrypt hash, or `*` for no password. These users, and no others, may then log in. They have SFTP, and the
legacy SCP protocol (`scp -O`), below root and nothing else, and with `ro` change nothing. A server of root's serves
their files as the owner of root, who cannot be root. The file may be open to nobody but its owner, and is read again
after SIGHUP."""

_CONFIGURATION: Final = """\
These directives of sshd_config(5) take effect, within Match where they may stand there: {server directives}.

KexAlgorithms leaves out the NIST curves unless they are asked for, as with `+ecdh-sha2-nistp256`.

`scp -t` and `scp -f`, the far side of `scp -O`, are commands of the account; where it finds no scp, fastssh-scp runs.

`internal-sftp`, as a subsystem or a forced command, takes -R, -d and -u of sftp-server(8). The files of RevokedKeys are
lists of keys or key revocation lists of ssh-keygen(1). One that cannot be read or understood, a signed one for
instance, refuses all keys. A directive that asks for something that fastsshd does not do is an error, or, where nothing
depends on it, is told of when the server starts."""

_FILES: Final = """\
`/etc/ssh/sshd_config`
  The configuration of a server that root started.

`$XDG_STATE_HOME/fastssh/host_ed25519_key`
  The host key of an ordinary user's server without a configuration; `~/.local/state` where the variable is not set."""

_ENVIRONMENT: Final = """\
FASTSSH_DEBUG
  If set, unexpected errors are shown with all details.

XDG_STATE_HOME
  See FILES."""

_MORE_EXIT_STATUS: Final = """\
0 means that the server was ended with SIGTERM, or that what was to be printed or checked is in order; with -i and -d
that somebody logged in."""

_EXAMPLES: Final = """\
A server for oneself:

    $ fastsshd -D -p 2222

SFTP for users without accounts:

    # fastsshd -D -f /dev/null -h host_key -o UsersFile=/etc/fastssh/users"""

_CAVEATS: Final = """\
Host-based authentication, and `~/.ssh/rc` and `~/.ssh/environment` are not there. A setting that has no effect yet is
told of when the configuration is read."""

SECTIONS: Final = (
    Section("PROCESSES", _PROCESSES),
    Section("AUTHENTICATION", _AUTHENTICATION),
    Section("USERS FILE", _USERS_FILE),
    Section("CONFIGURATION", _CONFIGURATION),
    Section("FILES", _FILES),
    Section("ENVIRONMENT", _ENVIRONMENT),
    Section("EXIT STATUS", "Errors are told in one line, and the exit status is then 255.", help=True),
    Section("", _MORE_EXIT_STATUS),
    Section("EXAMPLES", _EXAMPLES),
    Section("CAVEATS", _CAVEATS),
)
