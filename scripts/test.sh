#!/usr/bin/env bash
# Everything `make test` does: servers, environment, checks, tests. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/servers.sh
scripts/venv.sh test
scripts/check.sh
exec .venv/bin/python -m pytest --durations=10 "$@"
