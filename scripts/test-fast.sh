#!/usr/bin/env bash
# Runs only the unit tests: pure functions and SQLite, no servers, no lint; under a minute on two cores. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
scripts/venv.sh test
exec .venv/bin/python -m pytest -m unit -n 2 --dist loadfile -q "$@"
