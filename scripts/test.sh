#!/usr/bin/env bash
# Runs all steps of `make test`: servers, environment, checks, tests. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/servers.sh
scripts/venv.sh test
scripts/check.sh
# Tests run in parallel because half of the time is spent waiting for servers and time-outs. Each file stays in one process.
# Files run in folder order: those with the fewest tests take longest and must not come last.
# This is the short form of the fault tests, each fault at least once; the full form is `make faults`.
exec .venv/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --durations=10 "$@"
