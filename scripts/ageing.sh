#!/usr/bin/env bash
# 10,000 tickets grow 60 days older under random acts; what it came to is written to docs/ageing.md when everything held.
# Usage: scripts/ageing.sh ["TICKETS DAYS SEED"]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
scripts/venv.sh test
export AGEING="${1:-10000 60 $RANDOM}" AGEING_REPORT="${AGEING_REPORT:-docs/ageing.md}"
exec .venv/bin/python -m pytest -s -q tests/tickets/test_ageing.py -k sqlite
