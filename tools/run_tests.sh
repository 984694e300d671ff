#!/usr/bin/env bash
# Runs the tests in the environment of this checkout. Arguments go to pytest:
#   bash tools/run_tests.sh -m "not slow" -k compat
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# Tests are many small tensors, and some start processes of their own: more threads only get in each other's way.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" MKL_NUM_THREADS="${MKL_NUM_THREADS:-1}"
cd "$ROOT"
# A file is a unit of work: its fixtures are made once. To debug in one process: -n 0.
exec "$PYTHON" -m pytest -n 2 --dist loadfile "$@"
