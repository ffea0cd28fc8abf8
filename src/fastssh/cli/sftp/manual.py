"""What the manual page says of the commands."""

from __future__ import annotations

from typing import Final

from fastssh.cli.sftp.commands import VERBS

_INTRODUCTION: Final = """Commands are found in any case and never shortened. Words are quoted as a shell's, with \
both marks and backslashes; what is quoted or escaped is no wildcard. `#` begins a comment. Remote paths may begin \
with ~ or ~user in commands that neither remove nor change anything there."""
_MORE: Final = {
    "chgrp": "With -h of a link itself. `grp` is a number.",
    "chmod": "With -h of a link itself. `mode` is octal.",
    "chown": "With -h of a link itself. `own` is a number.",
    "cd": "Without a path to the directory that the session began in.",
    "copy": "On the server's side, if it has the copy-data extension.",
    "df": "In KiB; with -h readable, with -i the inodes.",
    "du": "In KiB of the sizes of files; with -a of each of them, with -h readable, with -s the sum alone.",
    "get": """With -a what was interrupted goes on, with -f it is flushed to the disk, with -p times and mode are \
kept, with -R or -r directories go with what is in them, but for links. `remote` is a pattern; of several matches \
`local` is the directory.""",
    "lcd": "Without a path to the home directory.",
    "ln": "With -s a symbolic link, whose target stays as it was typed.",
    "ls": """With -1 a name a line, with -a also those that begin with a dot, with -f in the server's order, with -S \
the largest and with -t the newest first, with -r the other way round; with -l a long line for each, with -n with \
numbers for owner and group, with -h with readable sizes.""",
    "put": "As get; what is not there yet goes as a whole even with -a.",
    "rename": "What has the new name already is replaced if the server can do that in one step; never with -l.",
    "rm": "`path` is a pattern.",
}


def commands_text() -> str:
    """Paragraphs: what holds for all, and each command."""
    shown = [f"`{verb.usage}`: {verb.help}. {_MORE.get(verb.name, '')}".rstrip() for verb in VERBS if verb.usage]
    return "\n\n".join([_INTRODUCTION, *shown])
