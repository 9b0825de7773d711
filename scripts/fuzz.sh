#!/usr/bin/env bash
# Fuzzes the parsers one after the other, guided by coverage. Usage: scripts/fuzz.sh [SECONDS [TARGET…]]
# SECONDS a target (default 60). The corpus and findings stay in var/fuzz, and a later run continues with them.
# docs/fuzzing.md keeps a row of the last run of each target.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
scripts/venv.sh test

seconds="${1:-60}"
case "$seconds" in
'' | *[!0-9]*) die "usage: scripts/fuzz.sh [SECONDS [TARGET…]]" ;;
esac
shift || true

# The fuzzer has its own environment because neither the product nor its tests depend on it.
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
failed=()
for name in "${names[@]}"; do
  say "fuzzing $name for $seconds seconds"
  "$fuzzer/bin/python" -m fuzz.run "$name" var/fuzz "$seconds" >"var/fuzz/$name.log" 2>&1 && status=0 || status=$?
  [ "$status" -eq 0 ] || failed+=("$name")
  .venv/bin/python -m fuzz.report var/fuzz "$name" "$seconds" "$status" docs/fuzzing.md
done
[ "${#failed[@]}" -eq 0 ] || die "failed: ${failed[*]}; the inputs and logs are in var/fuzz"
