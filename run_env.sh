# Sourced by the run_*.sh scripts: sets $python to an interpreter that has the packages.
# DEEPFAKE_PYTHON=/path/to/python uses that one as it is; otherwise .venv beside this file is made, or brought up to
# date when requirements.txt has changed.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="$here/src${PYTHONPATH:+:$PYTHONPATH}"
python=${DEEPFAKE_PYTHON:-$here/.venv/bin/python}

install_venv() {
    local base
    base=$(command -v python3.11 || command -v python3) || { echo "error: no python3 found; install Python 3.11" >&2; exit 2; }
    if command -v uv >/dev/null; then
        echo "setup: making $here/.venv with uv from requirements.txt (some GB, minutes)" >&2
        uv venv --quiet --seed --allow-existing --python "$base" "$here/.venv" &&
            uv pip install --quiet --python "$python" -r "$here/requirements.txt"
    else
        echo "setup: making $here/.venv with $("$base" --version) and pip from requirements.txt (some GB, minutes)" >&2
        { [ -x "$python" ] || "$base" -m venv "$here/.venv"; } &&
            "$python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    fi
}

if [ -z "${DEEPFAKE_PYTHON:-}" ]; then
    # The copy beside the packages is written last, so an installation that was cut off is done again.
    if ! cmp -s "$here/requirements.txt" "$here/.venv/requirements.txt"; then
        install_venv || { echo "error: installing requirements.txt failed; see above" >&2; exit 2; }
        cp "$here/requirements.txt" "$here/.venv/requirements.txt"
        echo "setup: done" >&2
    fi
elif ! command -v "$python" >/dev/null; then
    echo "error: DEEPFAKE_PYTHON=$python is not an interpreter" >&2
    exit 2
fi
