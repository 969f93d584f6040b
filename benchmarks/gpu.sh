#!/usr/bin/env bash
# A GPU's first hour in nine minutes: what holds on this machine's card, and how fast. benchmarks/gpu.sh [--tiny] [PART …]
# With $DEEPFAKE_PYTHON, else the checkout's .venv, else python3; what is installed there stays as it is.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${DEEPFAKE_PYTHON:-$here/../.venv/bin/python}
if ! command -v "$python" >/dev/null; then
    [ -z "${DEEPFAKE_PYTHON:-}" ] || { echo "error: DEEPFAKE_PYTHON=$python is not an interpreter" >&2; exit 2; }
    python=$(command -v python3) || { echo "error: no python3 found; install Python 3.11 or 3.12" >&2; exit 2; }
fi
exec "$python" "$here/gpu.py" "$@"
