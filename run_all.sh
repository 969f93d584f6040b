#!/usr/bin/env bash
# From media to submission.csv: ./run_all.sh [preset=NAME] [data.root=FOLDER] [key=value …]; without any, the demo set
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/run_env.sh"
exec "$python" -m deepfake index folds extract forge train infer "$@"
