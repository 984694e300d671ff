#!/usr/bin/env bash
# bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
# Several machines: NNODES, NODE_RANK, MASTER_ADDR and PORT, on each machine. Without GPUs: GPUS processes on the CPU.
set -eu
if [ $# -lt 3 ]; then
    echo "usage: bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]" >&2
    exit 2
fi
CONFIG=$1
CHECKPOINT=$2
GPUS=$3
# The error that a process ends with is shown once, after all that torchrun says.
MMSAMPRIORS_ERROR=$(mktemp)
export MMSAMPRIORS_ERROR
trap 'cat "$MMSAMPRIORS_ERROR" >&2; rm -f "$MMSAMPRIORS_ERROR"' EXIT
PYTHONPATH="$(dirname "$0")/..:${PYTHONPATH:-}" \
python -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$GPUS" \
    "$(dirname "$0")/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "${@:4}"
