#!/usr/bin/env bash
# Fuzzes the parsers one after the other, guided by coverage. Usage: scripts/fuzz.sh [SECONDS [TARGET…]]
# SECONDS a target (60 unless given). What was found stays in var/fuzz, and a later run goes on from there.
# A run of every target writes docs/fuzzing.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
scripts/venv.sh test

seconds="${1:-60}"
case "$seconds" in
'' | *[!0-9]*) die "usage: scripts/fuzz.sh [SECONDS [TARGET…]]" ;;
esac
shift || true

# An environment of its own: the fuzzer is no dependency of the product or of its tests.
fuzzer=.venv/fuzzer
if [ ! -x "$fuzzer/bin/python" ] || ! "$fuzzer/bin/python" -c 'import atheris' 2>/dev/null; then
  say "installing the fuzzer"
  .venv/bin/python -m venv "$fuzzer"
  "$fuzzer/bin/python" -m pip install -qq --disable-pip-version-check atheris
fi
packages="$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
export PYTHONPATH="$PWD:$packages"
mkdir -p var/fuzz

names=("$@")
if [ "${#names[@]}" -eq 0 ]; then
  mapfile -t names < <(.venv/bin/python -c 'from fuzz.targets import TARGETS; print(*TARGETS, sep="\n")')
fi
report="$(mktemp)"
trap 'rm -f "$report"' EXIT
cat >"$report" <<EOF
# Fuzzing

Written by \`make fuzz\` on $(date -u +%F), and not by hand: $seconds seconds a target, guided by coverage (atheris). An uncaught exception, an input
that takes more than 10 seconds, or 256 MB above what the libraries need would be a finding. Targets: \`fuzz/targets.py\`.

| target | inputs run | a second | slowest, s | outcome |
|---|---|---|---|---|
EOF
failed=()
for name in "${names[@]}"; do
  say "fuzzing $name for $seconds seconds"
  status=0
  "$fuzzer/bin/python" -m fuzz.run "$name" var/fuzz "$seconds" >"var/fuzz/$name.log" 2>&1 || status=$?
  read_figure() { sed -n "s/^stat::$1: *//p" "var/fuzz/$name.log"; }
  outcome="nothing found"
  [ "$status" -eq 0 ] || { tail -n 40 "var/fuzz/$name.log"; failed+=("$name"); outcome="**failed**"; }
  echo "| $name | $(read_figure number_of_executed_units) | $(read_figure average_exec_per_sec) |" \
    "$(read_figure slowest_unit_time_sec) | $outcome |" | tee -a "$report"
done
[ "$#" -gt 0 ] || cp "$report" docs/fuzzing.md
[ "${#failed[@]}" -eq 0 ] || die "failed: ${failed[*]}; the inputs are in var/fuzz"
