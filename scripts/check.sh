#!/usr/bin/env bash
# Lint, types and import rules: all three are run, the exit code tells whether all passed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
scripts/venv.sh test

failed=()
run() {
  say "$*"
  ".venv/bin/$1" "${@:2}" || failed+=("$1")
}

run ruff check
run ruff format --check --quiet
run mypy
run lint-imports --no-logo
[ "${#failed[@]}" -eq 0 ] || die "failed: ${failed[*]}"
