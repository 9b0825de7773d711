#!/usr/bin/env bash
# Steady load on the scaled-out mode: loss, doubles, latencies and memory. Arguments go to the script (--seconds 3600).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/servers.sh
scripts/venv.sh test
exec .venv/bin/python -m benchmarks.soak "$@"
