#!/usr/bin/env bash
# Confirms and measures on a GPU what two CPU cores cannot show: gpu_check.sh OUT [--minutes 8] [options of gpu_check.py].
# For a bare machine: any Python with torch, and a folder of wheels for the rest.
#   PYTHON  the interpreter, default python3
#   WHEELS  folder of wheels (CONTRIBUTING.md says which): they are unpacked into OUT/site and come first on the
#           path; nothing is installed, nothing is downloaded
set -euo pipefail
OUT="${1:?usage: gpu_check.sh OUT [--minutes 8]}"
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
PYTHON="${PYTHON:-python3}"
export GPU_CHECK_STARTED="${GPU_CHECK_STARTED:-$("$PYTHON" -c 'import time; print(time.time())')}"
mkdir -p "$OUT"
OUT="$(cd "$OUT" && pwd -P)"
if [ -n "${WHEELS:-}" ]; then
    # A folder that a killed pip left half-filled is made anew.
    if [ ! -e "$OUT/site/ready" ]; then
        rm -rf "$OUT/site"
        "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --target "$OUT/site" "$WHEELS"/*.whl
        touch "$OUT/site/ready"
    fi
    export PYTHONPATH="$OUT/site${PYTHONPATH:+:$PYTHONPATH}"
fi
exec "$PYTHON" "$ROOT/.dev_scripts/gpu_check.py" "$OUT" "${@:2}"
