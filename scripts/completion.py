"""Completion for bash, zsh and fish, of what the tools say of themselves: `make docs` writes docs/completion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from fastssh import algorithms
from fastssh.cli.tool import Option, Tool
from fastssh.config.directives import DIRECTIVES
from fastssh.config.server import settings as server


class Source(NamedTuple):
    """Where words come from, in each shell's own terms."""

    bash: str
    zsh: str
    fish: str


def _words(words: tuple[str, ...], after: str = "") -> Source:
    listed = " ".join(f"{word}{after}" for word in words)
    zsh = f"compadd -S '{after}' - {' '.join(words)}" if after else f"({' '.join(words)})"
    return Source(f'_fastssh_words "{listed}"', f"{{ {zsh} }}" if after else zsh, f"-xa '{listed}'")


def _names(directives: dict[str, object]) -> tuple[str, ...]:
    return tuple(sorted({directive.name for directive in directives.values()}))  # type: ignore[attr-defined]


_HOSTS: Final = "(__fish_complete_user_at_hosts)"
SOURCES: Final[dict[str, Callable[[], Source]]] = {
    "": lambda: Source("", " ", "-x"),
    "file": lambda: Source("_fastssh_files", "_files", "-rF"),
    "directory": lambda: Source("_fastssh_files -d", "_files -/", "-xa '(__fish_complete_directories)'"),
    "host": lambda: Source("_fastssh_hosts", "_ssh_hosts", f"-xa '{_HOSTS}'"),
    "remote": lambda: Source(
        "_fastssh_files; _fastssh_hosts :",
        "_alternative 'files:file:_files' 'hosts:host:_ssh_hosts -S \":\"'",
        "-a '(__fish_complete_user_at_hosts | string replace -r \"$\" :)'",
    ),
    "setting": lambda: _words(_names(dict(DIRECTIVES)), "="),
    "server setting": lambda: _words(_names(dict(server.DIRECTIVES)), "="),
    "cipher": lambda: _words(algorithms.CIPHERS),
    "mac": lambda: _words(algorithms.MACS),
    "kex": lambda: _words(algorithms.KEX),
    "key": lambda: _words(algorithms.HOST_KEYS),
}


def source(completes: str) -> Source:
    """What ``completes`` of an option or a tool stands for: a name of SOURCES, or words."""
    made = SOURCES.get(completes)
    return made() if made is not None else _words(tuple(completes.split()))


def files(tool: Tool) -> dict[str, str]:
    """Where a system looks for them, and what is in them."""
    return {
        f"bash/{tool.name}": bash(tool),
        f"zsh/_{tool.name}": zsh(tool),
        f"fish/{tool.name}.fish": fish(tool),
    }


_LONG: Final = (Option("--help", "show the options"), Option("--version", "show versions"))
_MADE: Final = "Made by make docs: not to be changed here.\n"

_BASH: Final = r"""
_fastssh_words() { COMPREPLY+=($(compgen -W "$1" -- "$cur")); }
_fastssh_files() { compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen ${1:--f} -- "$cur")); }
_fastssh_hosts() {
    local at=
    [[ $cur == *@* ]] && at=${cur%@*}@
    COMPREPLY+=($(compgen -P "$at" -S "$1" -W "$(
        sed -n 's/^[[:space:]]*[Hh][Oo][Ss][Tt][[:space:]=]\{1,\}//p' ~/.ssh/config /etc/ssh/ssh_config 2>/dev/null |
            tr ' ' '\n' | grep -v '[*?!]'
        sed -n 's/^\[\{0,1\}\([^]#@|,[:space:][]*\).*/\1/p' ~/.ssh/known_hosts 2>/dev/null
    )" -- "${cur##*@}"))
    [[ $1 ]] && compopt -o nospace 2>/dev/null
}
"""


def bash(tool: Tool) -> str:
    options = [*(each for each in tool.options if each.help), *_LONG]
    function = "_" + tool.name.replace("-", "_")
    cases = "".join(
        f"    {'|'.join(sorted(flags))}) {'; '.join(filter(None, (action, 'return')))} ;;\n"
        for action, flags in _by_source(options).items()
    )
    flags = " ".join(each.flag for each in options)
    operands = source(tool.completes).bash or ":"
    return (
        f"# bash completion for {tool.name}. {_MADE}{_BASH}\n{function}() {{\n"
        "    local cur=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}\n"
        "    COMPREPLY=()\n"
        f"    case $previous in\n{cases}    esac\n"
        f'    if [[ $cur == -* ]]; then\n        _fastssh_words "{flags}"\n    else\n        {operands}\n    fi\n'
        f"}}\ncomplete -F {function} {tool.name}\n"
    )


def _by_source(options: list[Option]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for option in options:
        if option.value:
            found.setdefault(source(option.completes).bash, set()).add(option.flag)
    return found


def zsh(tool: Tool) -> str:
    lines = []
    for option in (*(each for each in tool.options if each.help), *_LONG):
        text = option.help.replace("`", "").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
        spec = f"*{option.flag}{'+' if option.value and len(option.flag) == 2 else ''}[{text}]"
        if option.value:
            spec += f":{option.value}:{source(option.completes).zsh}"
        lines.append(f"    {_quoted(spec)}")
    lines.append(f"    {_quoted(f'*:operand:{source(tool.completes).zsh}')}")
    joined = " \\\n".join(lines)
    return f"#compdef {tool.name}\n# {_MADE}\n_arguments -s -S \\\n{joined}\n"


def fish(tool: Tool) -> str:
    operands = source(tool.completes).fish
    lines = [f"complete -c {tool.name} {operands}" if operands != "-rF" else f"complete -c {tool.name}"]
    for option in (*(each for each in tool.options if each.help), *_LONG):
        flag = f"-s {option.flag[1]}" if len(option.flag) == 2 else f"-l {option.flag[2:]}"
        value = f" {source(option.completes).fish}" if option.value else ""
        lines.append(f"complete -c {tool.name} {flag}{value} -d {_fish_quoted(option.help.replace('`', ''))}")
    return f"# fish completion for {tool.name}. {_MADE}" + "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
