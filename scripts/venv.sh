#!/usr/bin/env bash
# Creates .venv and installs the pinned packages and casemill; does nothing if everything is up to date.
# Usage: scripts/venv.sh run|test    run: packages of the product; test: test tools as well
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh

kind="${1:-run}"
case "$kind" in
run) lock=requirements.lock ;;
test) lock=requirements-dev.lock ;;
*) die "usage: scripts/venv.sh run|test" ;;
esac

# True for a Python that can create a virtual environment with pip: Debian ships ensurepip in a separate package.
usable() {
  "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

right_version() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# The pins were compiled with 3.11, so that version comes first.
candidates() {
  printf '%s\n' ${PYTHON:+"$PYTHON"} python3.11 python3.12 python3.13 python3.14 python3 python
}

find_python() {
  local candidate
  for candidate in $(candidates); do
    if "$1" "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

choose_python() {
  local bare
  find_python usable && return
  bare="$(find_python right_version)" ||
    die "Python 3.11 or newer is needed and was not found. Install it, or name one: make ${kind} PYTHON=/path/to/python3"
  if can_install; then
    say "installing python3-venv" >&2
    install_packages python3-venv >&2 || true
    find_python usable && return
  fi
  die "$bare cannot create virtual environments (on Debian: apt-get install python3-venv)"
}

# A hash of what the environment depends on. It includes the folder, because a moved .venv contains wrong paths.
fingerprint() {
  { pwd; cat pyproject.toml requirements.lock requirements-dev.lock; .venv/bin/python --version; } |
    .venv/bin/python -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
}

# Contains "FINGERPRINT run" or "FINGERPRINT test"; test includes run.
stamp=.venv/casemill-installed
if right_version .venv/bin/python && [ -f "$stamp" ]; then
  case "$(cat "$stamp")" in
  "$(fingerprint) $kind" | "$(fingerprint) test") exit 0 ;;
  esac
fi

if ! right_version .venv/bin/python || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
  python="$(choose_python)"
  say "creating .venv with $("$python" --version)"
  rm -rf .venv
  "$python" -m venv .venv
fi
rm -f "$stamp"

pip=(.venv/bin/python -m pip -qq --no-input --disable-pip-version-check)
say "installing $(grep -c '^[a-z0-9].*==' "$lock") pinned packages (the first time takes about a minute)"
"${pip[@]}" install --require-hashes -r "$lock"
say "installing casemill"
"${pip[@]}" install --no-deps --editable .
echo "$(fingerprint) $kind" >"$stamp"
