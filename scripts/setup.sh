#!/usr/bin/env bash
# Makes the machine able to build and test fastssh: system packages, then a virtual environment in .venv.
#
#   scripts/setup.sh packages GROUP...   checks the groups below and installs what is missing with apt-get (as root or
#                                        through sudo); without that, prints the line to type and fails
#   scripts/setup.sh venv                creates .venv with the first suitable Python and installs fastssh (editable)
#
# PYTHON=/path/to/python picks the interpreter. pip's own configuration decides where Python packages come from.
set -euo pipefail
cd "$(dirname "$0")/.."

# group | what must be there (c: a command, h: a C header, f: a file, p: a Python fit for a venv) | Debian package
table='
build    | c:gcc                              | gcc
build    | h:stdio.h                          | libc6-dev
build    | c:cmake                            | cmake
build    | c:ninja                            | ninja-build
build    | h:openssl/evp.h                    | libssl-dev
build    | h:zlib.h                           | zlib1g-dev
build    | p:                                 | python3 python3-venv python3-dev
openssh  | c:ssh                              | openssh-client
openssh  | c:sshd                             | openssh-server
openssh  | f:/usr/lib/openssh/sftp-server     | openssh-sftp-server
test     | c:clang                            | clang
test     | c:curl                             | curl
test     | c:dropbear                         | dropbear-bin
test     | c:git                              | git
test     | c:rsync                            | rsync
test     | c:lftp                             | lftp
test     | c:man                              | man-db
test     | c:plink                            | putty-tools
test     | c:rclone                           | rclone
test     | c:sshfs                            | sshfs
test     | c:fusermount3                      | fuse3
test     | c:tcsh                             | tcsh
test     | c:busybox                          | busybox
test     | c:zsh                              | zsh
test     | c:fish                             | fish
valgrind | c:valgrind                         | valgrind
regress  | f:/usr/lib/openssh/regress         | openssh-tests
'

# The first Python that is new enough and can make a virtual environment and compile a module; empty if none.
# Each candidate is tried for real: a version manager's stand-in may exist and not run.
find_python() {
    local candidate path
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        path=$(command -v "$candidate") || continue
        if "$path" - 2>/dev/null <<'PROBE'
import ensurepip, os, sys, sysconfig, venv
sys.exit(not (sys.version_info >= (3, 11) and os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))))
PROBE
        then
            echo "$path"
            return
        fi
    done
}

has_header() { echo "#include <$1>" | gcc -E -x c - >/dev/null 2>&1; }

present() {
    case $1 in
    c:*) PATH=$PATH:/usr/sbin:/sbin command -v "${1#c:}" >/dev/null ;;
    h:*) has_header "${1#h:}" ;;
    f:*) [ -e "${1#f:}" ] ;;
    p:*) [ -n "$(find_python)" ] ;;
    esac
}

# On releases whose python3 is older than 3.11, the archive may have a newer one beside it.
python_packages() {
    local version
    if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        for version in 3.13 3.12 3.11; do
            if apt-cache show "python$version-venv" >/dev/null 2>&1 && command -v python3 >/dev/null; then
                echo "python$version python$version-venv python$version-dev"
                return
            fi
        done
    fi
    echo "python3 python3-venv python3-dev"
}

missing_packages() {
    local group need package
    while IFS='|' read -r group need package; do
        group=${group// /} need=${need// /}
        [ -n "$group" ] && [[ " $* " == *" $group "* ]] || continue
        present "$need" || echo "$package"
    done <<<"$table"
}

install_packages() {
    local missing as_root=()
    missing=$(missing_packages "$@" | xargs)
    [ -n "$missing" ] || return 0
    if ! command -v apt-get >/dev/null; then
        echo "setup: missing; by their Debian names: $missing" >&2
        [ "$(uname)" != Darwin ] || echo "setup: please type:  brew install cmake ninja openssl@3 python@3.13" >&2
        exit 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        as_root=(sudo)
        if ! command -v sudo >/dev/null || ! { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
            echo "setup: system packages are missing; please type, as root:" >&2
            echo "    apt-get update && apt-get install -y --no-install-recommends $missing" >&2
            exit 1
        fi
    fi
    echo "setup: installing $missing"
    "${as_root[@]}" apt-get update -q
    [[ " $missing " != *" python3 "* ]] || missing=${missing/python3 python3-venv python3-dev/$(python_packages)}
    # shellcheck disable=SC2086  # a list of packages
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
    if [[ " $missing " == *" openssh-server "* ]]; then
        echo "setup: note: openssh-server may now run as a service of this machine; the tests do not need that:"
        echo "       systemctl disable --now ssh"
    fi
    missing=$(missing_packages "$@" | xargs)
    [ -z "$missing" ] || { echo "setup: still missing after installation: $missing" >&2; exit 1; }
}

make_venv() {
    local python
    if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c 'import pip'; then
        python=$(find_python)
        if [ -z "$python" ]; then
            echo "setup: no Python >= 3.11 with venv and headers (tried ${PYTHON:-python3 python3.13 python3.12 python3.11});" >&2
            echo "       install one (Debian, Ubuntu: python3 python3-venv python3-dev) or name it: make PYTHON=/path/to/python ..." >&2
            exit 1
        fi
        echo "setup: .venv with $("$python" --version) ($python)"
        "$python" -m venv .venv
    fi
    # Building without isolation, so that the build's CMake cache stays valid: its requirements go first.
    .venv/bin/python - <<'REQUIREMENTS' | .venv/bin/python -m pip install -q -r /dev/stdin
import tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")
REQUIREMENTS
    .venv/bin/python -m pip install -q --no-build-isolation -e '.[dev]'
}

case ${1:-} in
packages) shift; install_packages "$@" ;;
venv) make_venv ;;
*) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
