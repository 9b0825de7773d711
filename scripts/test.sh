#!/usr/bin/env bash
# Everything `make test` does: servers, environment, checks, tests. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/servers.sh
scripts/venv.sh test
scripts/check.sh
# Side by side: half of the time is spent waiting for servers and time-outs. One file stays in one process, and the order is that
# of the folders: the files with the fewest tests are the longest ones, and must not come last.
# Of the faults this is the short form, every one of them at least once; the full form is `make faults`.
exec .venv/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --durations=10 "$@"
