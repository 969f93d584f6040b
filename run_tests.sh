#!/usr/bin/env bash
# Lint, types and tests: CPU only, no network. ./run_tests.sh [--fast] [pytest arguments]
# --fast: the loop while coding, without the tests that render, extract or train
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/run_env.sh"
cd "$here"
fast=()
if [ "${1:-}" = --fast ]; then
    fast=(-m "not slow")
    shift
fi
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
exec "$python" -m pytest -n 2 --dist worksteal "${fast[@]}" "$@"
