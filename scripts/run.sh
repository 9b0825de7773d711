#!/usr/bin/env bash
# Installs and starts everything: the configuration named by CASEMILL_CONFIG, else the sample data.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/venv.sh run
# exec: Ctrl-C reaches casemill itself, which stops cleanly.
if [ -n "${CASEMILL_CONFIG:-}" ]; then
  exec .venv/bin/casemill run
fi
exec .venv/bin/casemill run --demo
