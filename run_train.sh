#!/usr/bin/env bash
# Train: ./run_train.sh fold=N [preset=NAME] [key=value …]     fold: 0, 1, …, all, or full
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/run_env.sh"
exec "$python" -m deepfake index folds extract forge train "$@"
