#!/usr/bin/env bash
# Runs every benchmark in turn and writes benchmarks/RESULTS.md from the recorded results.
# The docstring of each script says what it measures.
# With names (make bench ARGS="ingest start") it runs only those scripts; the rows of the others stay as they are.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
scripts/servers.sh
scripts/venv.sh test

names=("$@")
if [ "${#names[@]}" -eq 0 ]; then
  names=(start webhook workbook sending latency ingest memory million)
fi
BENCH_RESULTS="$(mktemp)"
export BENCH_RESULTS
trap 'rm -f "$BENCH_RESULTS"' EXIT
failed=()
for name in "${names[@]}"; do
  [ -f "benchmarks/bench_$name.py" ] || die "there is no benchmarks/bench_$name.py"
  say "bench_$name"
  .venv/bin/python -m "benchmarks.bench_$name" || failed+=("$name")
done
[ "${#failed[@]}" -eq 0 ] || die "failed: ${failed[*]}"
.venv/bin/python -m benchmarks.report "$BENCH_RESULTS"
