#!/usr/bin/env bash
# The fault tests in their full form; what they came to is written to docs/faults.md. Arguments go to pytest.
# FAULT_SEED=N replays the random choices of an earlier run; FAULTS=short runs the form that `make test` has.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
scripts/servers.sh
scripts/venv.sh test
export FAULTS="${FAULTS:-full}" FAULT_SEED="${FAULT_SEED:-$RANDOM}"
# A part of the tests must not pass for the whole report.
[ "$#" -gt 0 ] || export FAULTS_REPORT=docs/faults.md
say "the seed is $FAULT_SEED"
exec .venv/bin/python -m pytest tests/faults --durations=10 "$@"
