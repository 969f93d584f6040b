#!/usr/bin/env bash
# Score the test split with every trained fold of a run: ./run_infer.sh [name=RUN] [data.root=FOLDER] [key=value …]
# Predict single files: ./run_infer.sh FILE|FOLDER|'PATTERN' … [name=RUN] [json=FILE] [pictures=FOLDER]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/run_env.sh"
exec "$python" -m deepfake index infer "$@"
