"""What only the manual page of fastssh-scp says."""

from __future__ import annotations

from typing import Final

from fastssh.cli.tool import Section

MORE: Final = """\
IPv6 addresses stand in brackets: `[::1]:path`. In a URI an absolute path has two slashes: `scp://host//etc/motd`. A
leading `~` or `~user` is expanded where the server can do so. With several sources the target is a folder; a remote one
is made if it is missing. Copies between two local names are left to cp(1)."""

_TWO_HOSTS: Final = """\
With both sides remote this machine logs in to both, the first one first, and a large file passes through its memory in
segments: 24 MiB of them at most. With -R scp on the first host does the work; the target's host is looked up there, and
its port can only be set there.

A file that turns out to be source and target in one is left as it is."""

_LEGACY: Final = """\
With -O a shell on the other side runs `scp -t` or `scp -f`. Wildcards and a leading `~` in a remote name are the
shell's to expand; a backslash makes the next character mean itself; everything else is quoted, so that names need no
second quoting. Names that the server sends have to match the last part of what was asked for, see -T.

`fastssh-scp -t` and `-f` are that other side, for any client; fastsshd runs them where an account has no scp. For users
without a shell, as those of a users file, fastsshd serves the protocol by itself."""

_LARGE_FILES: Final = """\
A server gives each connection processes of its own, so that a large file (64 MiB and more) is copied faster over
several. The copy begins on the first connection, and others join it when they are there. By default there are up to
three, if the first one was logged in with a key that nobody had to be asked about: with no passphrase, no agent and no
password. Otherwise a second session is opened on the one connection.

Further connections log in with the same key to the same address, accept only the host key that the first one showed,
and never ask anything. One that cannot be made, or is lost, is done without; -v tells. --connections sets their number,
also for keys with a passphrase and keys of an agent, which may then ask again; with 1 there is one connection with one
session. A rate limit (-l) always means one connection.

The last piece of a file is written when all others are in place and confirmed. Until then the copy is shorter than the
original, and after a failure it is cut to what has arrived without a gap."""

_PROGRESS: Final = """\
If standard output is a terminal, a line shows the name of the largest file under way, how much of it is done, the rate
and the time left. It shows nothing otherwise, or in the background, or with -q."""

_HOST_KEYS: Final = """\
The server's key is always verified with the known_hosts files of sshd(8). What happens with an unknown host is decided
by StrictHostKeyChecking: by default the fingerprint is shown and the question is whether to go on; the answer is `yes`,
`no` or the fingerprint itself. A key other than the known one always ends the connection, unless StrictHostKeyChecking
is `no`."""

_SUMMARY: Final = """\
The object of --json has these members:

version
  of fastssh.

exit_status
  as below.

interrupted
  true after a signal.

files, bytes
  that went over a connection whole.

seconds
  spent on copying, and connect_seconds on connecting and logging in.

rate
  bytes divided by seconds.

cipher, mac, kex, host_key_algorithm
  of the last connection; null if there was none.

connections
  how many there were at once; 0 if there was none.

cpu_user_seconds, cpu_system_seconds
  of the client.

peak_rss
  largest memory of the client, in bytes.

failed
  how many files and folders were not copied.

errors
  a list of objects, one for each of the first thousand of these, with name, reason and type."""

_ENVIRONMENT: Final = """\
FASTSSH_DEBUG
  If set, unexpected errors are shown with all details.

HOME
  The home folder, whose `.ssh` is used.

NO_COLOR
  If set and not empty, the progress line has no colours.

SSH_ASKPASS, SSH_ASKPASS_REQUIRE, DISPLAY, WAYLAND_DISPLAY
  A program that asks for passwords, and when to use it, as for ssh(1).

SSH_AUTH_SOCK
  The socket of the agent.

TERM
  `dumb` means no progress line."""

_EXIT_STATUS: Final = """\
The exit status is 0 when everything was copied, 1 when something was not, 255 when no connection could be made, and 130
after Ctrl-C."""

_MORE_EXIT_STATUS: Final = """\
0 means that the other side confirmed every byte. 1 stands for a command line that makes no sense as well, 255 for a
connection that was lost and for a broken configuration; 143 and 129 follow SIGTERM and SIGHUP. Each file that could not
be copied is named on standard error with the reason; the rest is copied nevertheless."""

_EXAMPLES: Final = """\
A file to the home folder of ana on host:

    $ fastssh-scp report.pdf ana@host:

A folder from there, with times and modes, over port 2222:

    $ fastssh-scp -rp -P 2222 ana@host:photos ."""

SECTIONS: Final = (
    Section("LARGE FILES", _LARGE_FILES),
    Section("TWO REMOTE HOSTS", _TWO_HOSTS),
    Section("THE LEGACY PROTOCOL", _LEGACY),
    Section("PROGRESS", _PROGRESS),
    Section("HOST KEYS", _HOST_KEYS),
    Section("SUMMARY", _SUMMARY),
    Section("ENVIRONMENT", _ENVIRONMENT),
    Section("EXIT STATUS", _EXIT_STATUS, help=True),
    Section("", _MORE_EXIT_STATUS),
    Section("EXAMPLES", _EXAMPLES),
)
