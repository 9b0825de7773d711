#!/usr/bin/env bash
# Runs the fault tests in their full form and writes the report to docs/faults.md. Arguments go to pytest; a run of some tests
# updates only their lines of the report.
# FAULT_SEED=N repeats the random choices of an earlier run; FAULTS=short runs the short form of `make test`.
# Servers and strace are installed where that is possible. The full-disk test mounts a tmpfs and so needs root; the tests with
# failing system calls need permission for strace to attach. The report names tests that cannot run; with CI=true they fail.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
scripts/servers.sh
scripts/venv.sh test
export FAULTS="${FAULTS:-full}" FAULT_SEED="${FAULT_SEED:-$RANDOM}" FAULTS_REPORT="${FAULTS_REPORT:-docs/faults.md}"
[ "$(id -u)" = 0 ] || say "not run as root: tests that mount a tmpfs or attach to a process are reported as not run"
say "the seed is $FAULT_SEED"
exec .venv/bin/python -m pytest tests/faults --durations=10 "$@"
