"""What the manual page of fastssh says of ssh_config(5), which all tools read, and of shared connections."""

from __future__ import annotations

from typing import Final

from fastssh.cli.tool import Section

CONFIGURATION: Final = Section("CONFIGURATION", """\
`~/.ssh/config` and `/etc/ssh/ssh_config` are read as ssh(1) reads them, by all tools of fastssh and by its library,
with Host, Match and Include, canonical names, tokens and variables of the environment. -G prints what holds for a host.

Of the directives of ssh_config(5) these are read and have no effect, which -v tells: {passed over}. Algorithms that
other programs know and fastssh does not are left out of the lists that name them.""")

SHARING: Final = Section("SHARED CONNECTIONS", """\
With -M, or ControlMaster, a call is the master of its connection: others with the same ControlPath (-S) have their
sessions and forwards over it, and do not log in. Masters and clients of ssh(1) and of fastssh take each other, and
fastssh-scp(1) and fastssh-sftp(1) share as well. A master ends with its own session, once the others have ended; with
ControlPersist it goes to the background at once, and stays until it has been idle for so long. -O tells it something:

`check` whether it is there; `forward` and `cancel` open and cancel the forwards of -L, -R and -D (for -R with port 0
the port is printed); `stop` to take no more clients; `exit` to end at once; `proxy` to pass on what this call says
itself, which needs no descriptors to be handed over.

The control socket is its user's alone. With ControlMaster ask or autoask the program of $SSH_ASKPASS is asked before
anything is done for a client.""")
