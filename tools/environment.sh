#!/usr/bin/env bash
# Makes the virtual environment of this checkout, or reuses it. Sourced by the scripts that need one; may be run alone.
# Sets ROOT (the checkout) and PYTHON (the interpreter to use).
#   MMSAMPRIORS_VENV  folder of the environment, when it should not be .venv in the checkout. An environment that
#                     exists is completed, and an mmcv in it is kept.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
VENV="${MMSAMPRIORS_VENV:-$ROOT/.venv}"
mkdir -p "$VENV"
VENV="$(cd "$VENV" && pwd -P)"
PYTHON="$VENV/bin/python"
# What pip prints.
PIP_LOG_FILE="$VENV/install.log"
# Packages come without byte code, and the first process that imports one writes it for all others. Containers often
# forbid that, and each start of a tool would then compile PyTorch and mmagic anew, for ten seconds and more.
unset PYTHONDONTWRITEBYTECODE

fail() {
    printf 'environment.sh: %s\n' "$@" >&2
    exit 1
}

suits() {
    "$1" -I -c 'import ensurepip, sys, venv; sys.exit(sys.version_info[:2] < (3, 10))' 2>/dev/null
}

find_python() {
    local name
    for name in python3.11 python3.12 python3.13 python3.10 python3 python; do
        # A name on the PATH is not enough: version managers leave names there that start nothing.
        if command -v "$name" >/dev/null && suits "$name"; then
            command -v "$name"
            return
        fi
    done
    fail 'needs Python 3.10 or newer with its venv module, and finds none on the PATH.' \
        "Found: $(python3 --version 2>&1 || true) ($(command -v python3 || echo 'no python3'))." \
        'On Debian and Ubuntu: apt install python3-venv. Elsewhere: install Python 3.11 so that `python3.11` starts' \
        "it, or make the environment with any Python of yours: /path/to/python -m venv '$VENV'"
}

# What the stamp holds: it changes with the requirements, this script, the Python, and the place of the checkout.
describe_environment() {
    (cd "$ROOT" && cat requirements.txt requirements/*.txt setup.py pyproject.toml tools/environment.sh) | cksum
    "$PYTHON" --version
    echo "$ROOT"
}

is_ready() {
    [ -x "$PYTHON" ] && [ -f "$VENV/mmsampriors.stamp" ] &&
        [ "$(cat "$VENV/mmsampriors.stamp")" = "$(describe_environment)" ]
}

# pip writes INSTALLER after the files of a package: where it is missing, a killed pip left half a package behind that
# the next one would take for installed.
drop_half_packages() {
    local folder
    for folder in "$VENV"/lib/python3*/site-packages/*.dist-info; do
        if [ -d "$folder" ] && [ ! -e "$folder/INSTALLER" ]; then
            rm -r "$folder"
        fi
    done
}

# Runs pip install. Its messages go to the log; a dot for each package shows that it is at work.
run_pip() {
    local line
    PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 "$PYTHON" -I -m pip install "$@" 2>&1 | while IFS= read -r line; do
        printf '%s\n' "$line" >>"$PIP_LOG_FILE"
        case "$line" in
            Collecting*) printf '.' ;;
            'Installing collected'*) printf ' installing\n' ;;
        esac
    done
}

install_packages() {
    local files=(-r "$ROOT/requirements.txt")
    # mmcv and mmcv-lite write to the same folder: an mmcv that is there is kept.
    if ! "$PYTHON" -I -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("mmcv") is None)'; then
        files+=(-r "$ROOT/requirements/lite.txt")
    fi
    # -I: what PYTHONPATH shows is not in this environment. --no-compile: half of the time would go into byte code of
    # modules that nothing imports; Python writes that of the others when it first imports them.
    run_pip --no-compile "${files[@]}" ||
        fail "the packages could not be installed; the reason is at the end of $PIP_LOG_FILE:" \
            "$(tail -n 5 "$PIP_LOG_FILE")" \
            'If pip cannot reach its package index, give it a mirror (PIP_INDEX_URL), a folder of wheels' \
            '(PIP_FIND_LINKS) or a proxy (HTTPS_PROXY), and run this again: what has been installed is kept.'
}

make_environment() {
    local base
    if [ ! -x "$PYTHON" ]; then
        base="$(find_python)"
        echo "[1/3] $("$base" --version): a virtual environment in $VENV"
        "$base" -m venv "$VENV" || fail "$base -m venv '$VENV' failed; the reason is in the lines above."
    fi
    suits "$PYTHON" ||
        fail "$VENV has $("$PYTHON" --version 2>&1), and 3.10 or newer is needed: remove that folder."
    "$PYTHON" -I -c 'import sys; sys.exit(sys.version_info[:2] > (3, 13))' ||
        echo "      $("$PYTHON" --version) is newer than what was tested, 3.10 to 3.13: it is tried."
    if [ -e "$VENV/mmsampriors.unfinished" ]; then
        drop_half_packages
    fi
    touch "$VENV/mmsampriors.unfinished"
    echo '[2/3] PyTorch, mmagic and the rest: at first 3 GB to download and 7 GB on disk, 5 minutes or more.'
    echo "      A dot is a package; pip's messages go to $PIP_LOG_FILE"
    install_packages
    echo '[3/3] mmsampriors itself, as a link to this checkout'
    run_pip --no-deps --no-build-isolation --editable "$ROOT" >/dev/null ||
        fail "mmsampriors could not be installed; the reason is at the end of $PIP_LOG_FILE:" \
            "$(tail -n 5 "$PIP_LOG_FILE")"
    describe_environment >"$VENV/mmsampriors.stamp.part"
    mv "$VENV/mmsampriors.stamp.part" "$VENV/mmsampriors.stamp"
    rm "$VENV/mmsampriors.unfinished"
}

if ! is_ready; then
    (
        # Two calls at once: the second waits, then finds the work done. Without flock (macOS) nothing guards that.
        if command -v flock >/dev/null && ! flock --nonblock 9; then
            echo "waiting for another process that is making $VENV"
            flock 9
        fi
        is_ready || make_environment
    ) 9>"$VENV/mmsampriors.lock"
fi
