#!/usr/bin/env bash
# Runs the tests in the environment of this checkout. Arguments go to pytest:
#   bash tools/run_tests.sh -m "not slow" -k compat
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# Tests are many small tensors, and some start processes of their own: more threads only get in each other's way.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" MKL_NUM_THREADS="${MKL_NUM_THREADS:-1}"
cd "$ROOT"
# SAM 2 is a package of source whose isolated build would fetch PyTorch once more. Without it its tests are skipped.
if ! "$PYTHON" -I -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("sam2") is None)'; then
    SAM2_BUILD_CUDA=0 "$PYTHON" -I -m pip install --quiet --no-build-isolation -r requirements/sam2.txt ||
        echo 'sam2 could not be installed (it needs torch 2.5.1 or later): its tests are skipped' >&2
fi
# A file is a unit of work: its fixtures are made once. tests/conftest.py orders them. To debug in one process: -n 0.
exec "$PYTHON" -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
