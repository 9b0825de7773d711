#!/usr/bin/env bash
# Removes what can be made again. var/ stays: it holds data.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist ./*.egg-info
find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
