#!/usr/bin/env bash
# Ages 10,000 tickets by 60 simulated days of random actions; writes the report to docs/ageing.md if every check passes.
# Usage: scripts/ageing.sh ["TICKETS DAYS SEED"]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
scripts/venv.sh test
export AGEING="${1:-10000 60 $RANDOM}" AGEING_REPORT="${AGEING_REPORT:-docs/ageing.md}"
exec .venv/bin/python -m pytest -s -q tests/tickets/test_ageing.py -k sqlite
