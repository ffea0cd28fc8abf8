"""What the manual page of fastssh says of ssh_config(5), which all tools read."""

from __future__ import annotations

from typing import Final

from fastssh.cli.tool import Section

CONFIGURATION: Final = Section("CONFIGURATION", """\
`~/.ssh/config` and `/etc/ssh/ssh_config` are read as ssh(1) reads them, by all tools of fastssh and by its library,
with Host, Match and Include, canonical names, tokens and variables of the environment. -G prints what holds for a host.

Of the directives of ssh_config(5) these are read and have no effect, which -v tells: {passed over}. Algorithms that
other programs know and fastssh does not are left out of the lists that name them.""")
