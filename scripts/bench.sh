#!/usr/bin/env bash
# Runs every benchmark in turn; each says itself what it measures and against what.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
shopt -s nullglob
benchmarks=(benchmarks/bench_*.py)
[ "${#benchmarks[@]}" -gt 0 ] || die "no benchmarks/bench_*.py found"
scripts/servers.sh
scripts/venv.sh test
failed=()
for benchmark in "${benchmarks[@]}"; do
  say "$benchmark"
  PYTHONPATH=. .venv/bin/python "$benchmark" || failed+=("$benchmark")
done
[ "${#failed[@]}" -eq 0 ] || die "failed: ${failed[*]}"
