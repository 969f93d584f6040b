#!/usr/bin/env bash
# Lint and tests: CPU only, no network. ./run_tests.sh [pytest arguments]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/run_env.sh"
cd "$here"
"$python" -m ruff check .
"$python" -m ruff format --check .
exec "$python" -m pytest "$@"
