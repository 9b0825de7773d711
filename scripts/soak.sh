#!/usr/bin/env bash
# Runs steady load on the scaled-out mode; reports lost and doubled items, latencies and memory.
# Arguments go to the benchmark (--seconds 3600).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/servers.sh
scripts/venv.sh test
exec .venv/bin/python -m benchmarks.soak "$@"
