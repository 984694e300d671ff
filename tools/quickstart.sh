#!/usr/bin/env bash
# Makes or reuses the environment and runs the main job on an embedded default: see tools/quickstart.py.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
# The libraries under mmagic warn of their own future on import; what concerns the run goes to its log.
# Small tensors: a second thread gains 7 % on a free core and costs a multiple on a busy one.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec "$PYTHON" -W ignore "$ROOT/tools/quickstart.py" "$@"
