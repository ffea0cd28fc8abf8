"""fastssh-sftp's lines: words, quotes, escapes, prefixes, flags and numbers, as sftp(1) reads them."""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastssh.cli.sftp.commands import VERBS, Command, help_text, parse, read_prefix
from fastssh.cli.sftp.completion import choices
from fastssh.cli.sftp.words import MAX_LINE, LineError, Words, plain, quoted, scan, split
from fastssh.sftp import glob
from tests.support.peers import program
from tests.support.sftp_tool import FASTSSH_SFTP, local


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("  a \t b\v", ["a", "b"]),
        ("a'b c'd \"e 'f\"", ["ab cd", "e 'f"]),
        ("''", [""]),
        ('"" x', ["", "x"]),
        (r"a\ b \'c\"", ["a b", "'c\""]),
        (r"a\*b \? \[ \\", [r"a\*b", r"\?", r"\[", r"\\"]),
        ("'*' \"a?[b]\"", [r"\*", r"a\?\[b]"]),
        (r'"a\"b" ' + r"'a\'b'", ['a"b', "a'b"]),
        (r"'\*' '\n' '\\'", [r"\\\*", r"\n", r"\\"]),
        ("a # b", ["a"]),
        ("a#b", ["a"]),
        ("'#' \\#", ["#", "#"]),
    ],
)
def test_words_are_split_as_sftp_splits_them(line: str, words: list[str]) -> None:
    assert split(line) == words


@pytest.mark.parametrize("line", ["'", '"a', "a 'b", "a\\", "'a\\", "\\"])
def test_what_does_not_end_is_an_error_unless_it_is_still_typed(line: str) -> None:
    with pytest.raises(LineError, match="Unterminated quoted argument"):
        split(line)
    assert scan(line, partial=True).open


def test_a_line_still_typed_tells_where_it_stands() -> None:
    assert scan("get 'a b", partial=True) == Words(["get", "a b"], "'", open=True, behind=False, start=4)
    assert scan("get ab", partial=True) == Words(["get", "ab"], "", open=False, behind=False, start=4)
    assert scan("get ab ", partial=True) == Words(["get", "ab"], "", open=False, behind=True)


def test_row7_lines_and_words_have_their_limits() -> None:
    with pytest.raises(LineError, match="string too long"):
        split("x" * MAX_LINE)
    with pytest.raises(LineError, match="Too many arguments"):
        split("x " * 200)
    assert len(split("x " * 128)) == 128


NAMES = st.text(st.characters(exclude_characters="\0\n\r", exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(st.lists(NAMES, min_size=1, max_size=5), st.sampled_from(["", "'", '"']))
def test_quoted_names_are_read_back(names: list[str], quote: str) -> None:
    line = " ".join(f"{quote}{quoted(name, quote)}{quote}" for name in names)
    words = split(line)
    assert [plain(word) for word in words] == names
    assert [glob.unescape(word) for word in words] == names  # and as a pattern each matches itself alone
    assert all(map(glob.is_literal, words))


@given(st.text("ab \\'\"*?[]#\t-@!", max_size=30))
def test_no_line_does_anything_but_mean_something_or_be_refused(line: str) -> None:
    _, rest = read_prefix(line)
    try:
        command = parse(rest)
    except LineError as error:
        assert str(error)
    else:
        assert command is None or command.verb in VERBS
    assert isinstance(scan(line, partial=True).words, list)


def test_lines_reach_the_server_as_sftps_do(tmp_path: Path) -> None:
    """Stock sftp is asked the same, and its answers show how it read each line: what is not found is named."""
    source = random.Random(1)
    lines = ["x" + "".join(source.choices("ab \\\\'\"\"*?[#", k=source.randrange(1, 12))) for _ in range(600)]
    readable = [line for line in lines if not line.endswith("\\")]  # 9.2 reads on behind such an end
    script = "".join(f"-ls {line}\n-mkdir nothing/{line}\n" for line in readable)
    answers = [
        local(tmp_path, script, "-b", "-", program=each).stdout.splitlines()
        for each in (FASTSSH_SFTP, program("sftp", "openssh-client"))
    ]
    assert answers[0] == answers[1]


# -- commands ----------------------------------------------------------------------------------------------------------


def understood(line: str) -> Command:
    found = parse(line)
    assert found is not None
    return found


def test_prefixes_are_read_before_the_command() -> None:
    assert read_prefix(" -@- ls x") == ((True, True), "ls x")
    assert read_prefix("@ls") == ((False, True), "ls")
    assert read_prefix("ls -l") == ((False, False), "ls -l")
    for blank in ("", "# ls", "#"):
        assert parse(blank) is None


def test_commands_are_found_in_any_case_and_never_shortened() -> None:
    assert understood("LS").verb.does == "ls"
    assert understood("'get' x").verb.does == "get"
    for line in ("l", "ge x", "mge x", "lsx", "'' x"):
        with pytest.raises(LineError, match="Invalid command"):
            parse(line)
    assert {verb.name for verb in VERBS} >= {"chdir", "lchdir", "dir", "mget", "mput", "cp", "?"}


def test_flags_stand_before_the_operands_and_in_their_order() -> None:
    assert understood("ls -lt -1 -S a -r").flags == "lt1S"
    assert understood("get -- -x").paths == ("-x",)
    assert understood("ls -").paths == ("-",)
    for line, said in (("get -q x", "get: Invalid flag -q"), ("MGET -q x", "mget: Invalid flag -q"),
                       ("dir -x", "ls: Invalid flag -x"), ("pwd -a", "pwd: Invalid flag -a")):  # fmt: skip
        with pytest.raises(LineError, match=said):
            parse(line)


@pytest.mark.parametrize(
    ("line", "number"),
    [("chmod 0644 x", 0o644), ("chmod 7777 x", 0o7777), ("chown 0x10 x", 16), ("chown 010 x", 8), ("chgrp 99 x", 99),
     ("lumask 22", 0o22), ("chown +5 x", 5), ("chown 4294967295 x", 2**32 - 1), ("chgrp 0 x", 0)],
)  # fmt: skip
def test_numbers_are_octal_for_modes_and_as_in_c_for_owners(line: str, number: int) -> None:
    assert understood(line).number == number


@pytest.mark.parametrize(
    "line",
    ["chmod 8 x", "chmod u+x x", "chown 4294967296 x", "chown 0x x", "chgrp 1.5 x", "lumask", "chmod 0o7 x",
     "chown 99999999999999999999999 x", "chown \N{ARABIC-INDIC DIGIT ONE} x"],
)  # fmt: skip
def test_other_numbers_are_refused(line: str) -> None:
    with pytest.raises(LineError, match="You must supply a numeric argument to the"):
        parse(line)


def test_only_patterns_keep_their_backslashes() -> None:
    assert understood(r"get a\* b\*").paths == (r"a\*", "b*")
    assert understood(r"rename a\* b\\").paths == ("a*", "b\\")
    assert understood(r"rm a\*").paths == (r"a\*",)
    assert understood(r"cd a\*").paths == ("a*",)


def test_the_rest_of_a_shells_line_is_left_as_it_is() -> None:
    assert understood("!echo  'a' # b").rest == "echo  'a' # b"
    assert understood("!").rest == ""
    assert understood("lls -l  *.c").rest == "-l  *.c"


def test_the_help_names_every_command() -> None:
    text = help_text()
    for name in ("bye", "cd", "df", "du", "get", "put", "reput", "lumask", "symlink", "progress", "!", "?"):
        assert re.search(rf"(?m)^{re.escape(name)}\b|^{re.escape(name)}[ \[]", text), name
    assert max(map(len, text.splitlines())) < 80


# -- braces ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [("a", ["a"]), ("{a,b}c", ["ac", "bc"]), ("x{a,{b,c}}", ["xa", "xb", "xc"]), ("{}", ["{}"]), ("{a", ["{a"]),
     (r"\{a,b}", [r"\{a,b}"]), ("[{a,b}]", ["[{a,b}]"]), ("{a,}b", ["ab", "b"]), ("{a}{b,c}", ["ab", "ac"])],
)  # fmt: skip
def test_braces_stand_for_several_patterns(pattern: str, meant: list[str]) -> None:
    assert glob.braces(pattern) == meant


@given(st.text("{},ab\\[]", max_size=40))
def test_row7_braces_never_grow_beyond_their_bound(pattern: str) -> None:
    assert 1 <= len(glob.braces(pattern)) <= glob.MAX_BRACES + 1


def test_row7_too_many_patterns_in_braces_are_none() -> None:
    assert glob.braces("{a,b}" * 30) == ["{a,b}" * 30]


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_row20_a_completed_name_is_one_word_to_the_shell_of_lls(quote: str) -> None:
    """A server may have given the file its name."""
    marks = "".join(map(chr, range(1, 128))).replace("/", "")
    names = [*(f"{mark}a{mark}" for mark in marks), marks, "a;$(id)`id`|&<>!{}~'\"\\ \n#", "ä\u2028'\\"]
    lines = [choices(f"lls {quote}", lambda side, pattern, name=name: [name]).lines[0] for name in names]  # type: ignore[misc]
    words = "".join(line.removeprefix("lls ") for line in lines)
    printed = subprocess.run(["sh", "-c", f"printf '%s\\0' {words}"], capture_output=True, check=True).stdout
    assert printed.decode().split("\0")[:-1] == names
    if quote != '"':
        assert [plain(split(line)[1]) for line in lines] == names
