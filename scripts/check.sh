#!/usr/bin/env bash
# Lint, format, types and import rules: runs all of them; the exit code is 0 only if all passed.
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
