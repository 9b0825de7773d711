#!/usr/bin/env bash
# The fault tests in their full form; what they came to is written to docs/faults.md. Arguments go to pytest; a run of some
# tests brings only their lines of the report up to date.
# FAULT_SEED=N replays the random choices of an earlier run; FAULTS=short runs the form that `make test` has.
# Servers and strace are installed where that is possible. A full disk needs a tmpfs of its own, and so root; failing system
# calls need strace to be allowed to attach. What cannot be run is named in the report, and fails with CI=true.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
scripts/servers.sh
scripts/venv.sh test
export FAULTS="${FAULTS:-full}" FAULT_SEED="${FAULT_SEED:-$RANDOM}" FAULTS_REPORT="${FAULTS_REPORT:-docs/faults.md}"
[ "$(id -u)" = 0 ] || say "not run as root: what needs a tmpfs or attaching to a process is named as not run"
say "the seed is $FAULT_SEED"
exec .venv/bin/python -m pytest tests/faults --durations=10 "$@"
