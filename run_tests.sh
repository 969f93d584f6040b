#!/usr/bin/env bash
# Lint, types and tests: CPU only, no network. ./run_tests.sh [--fast] [pytest arguments]
# --fast is for the loop while coding: without the tests that extract or train, under a minute.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/run_env.sh"
cd "$here"
if [ "${1:-}" = --fast ]; then
    set -- -m "not slow" "${@:2}"
fi
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
exec "$python" -m pytest --numprocesses 2 --dist worksteal "$@"
