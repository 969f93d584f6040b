"""`python -m deepfake evaluate`: tables of a run by generator, on the screen and beside its submission."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
from pipeline import TINY


def test_a_run_is_evaluated_by_generator_and_beside_it_out_of_fold(deepfake, here: Path, demo_root: Path) -> None:
    done = deepfake("evaluate", f"data.root={demo_root}")
    assert done.status == 0, done.output
    table = pd.read_csv(here / "submissions/people/evaluation.csv")
    assert set(table.on) == {"test media of people", "out of fold, people"}
    tested = table[table.on == "test media of people"]
    assert tested.method.iloc[0] == "all" and tested.auc.iloc[1:].is_monotonic_increasing
    assert set(tested.method) >= {"all", "reenact", "swap"}
    media = pd.read_parquet(here / "data/people/media.parquet")
    test = media[media.split == "test"]
    assert tested.fakes.iloc[0] == (test.label == 1).sum() and tested.reals.iloc[0] == (test.label == 0).sum()
    assert f"AUC {tested.auc.iloc[0]:.4f}" in deepfake("infer", f"data.root={demo_root}").output
    lines = [line.split()[0] for line in done.output.splitlines() if line.startswith(tuple(tested.method))]
    assert lines[: len(tested)] == tested.method.tolist()
    beside = json.loads((here / "submissions/people/evaluation.json").read_text())
    assert [row["method"] for row in beside] == table.method.tolist()
    assert "| all |" in (here / "submissions/people/evaluation.md").read_text()


def test_where_the_split_is_not_there_the_test_media_are_evaluated_alone(deepfake, here: Path, demo_root: Path) -> None:
    (here / "folds/people.csv").unlink()
    done = deepfake("evaluate", f"data.root={demo_root}")
    assert done.status == 0 and "out of fold" not in done.output, done.output
    assert set(pd.read_csv(here / "submissions/people/evaluation.csv").on) == {"test media of people"}


def test_what_is_missing_is_said_in_a_line(deepfake, here: Path, demo_root: Path) -> None:
    (here / "submissions/people/scores.csv").unlink()
    done = deepfake("evaluate", f"data.root={demo_root}")
    assert done.status == 2 and "is not there: first ./run_infer.sh with the same name and data" in done.output
    assert "Traceback" not in done.output


def test_scores_of_other_models_are_not_taken_for_these(deepfake, here: Path, demo_root: Path) -> None:
    assert deepfake("train", "fold=0", "name=other", f"data.root={demo_root}", *TINY, "seed=5").status == 0
    done = deepfake("evaluate", "name=other", f"data.root={demo_root}")
    assert done.status == 2 and "submissions/other/scores.csv is not there" in done.output
    shutil.copytree(here / "submissions/people", here / "submissions/other")
    done = deepfake("evaluate", "name=other", f"data.root={demo_root}")
    assert done.status == 2 and "is of other models or media than are there now" in done.output


def test_it_stands_at_the_end_of_the_whole_way(deepfake, demo_root: Path) -> None:
    done = deepfake(
        "index", "folds", "extract", "train", "infer", "evaluate", f"data.root={demo_root}", *TINY, "fold=0"
    )
    assert done.status == 0 and "evaluation.csv" in done.output, done.output


def test_without_labels_there_is_nothing_to_compare_with(deepfake, here: Path, demo_root: Path) -> None:
    unlabelled = here / "unlabelled"
    unlabelled.mkdir()
    for path in list((demo_root / "media/test").glob("*.png"))[:2] or list((demo_root / "media/test").iterdir())[:2]:
        (unlabelled / path.name).symlink_to(path)
    done = deepfake("index", "infer", "evaluate", "name=people", f"data.root={unlabelled}", "data.layout=unlabelled")
    assert done.status == 2 and "no test medium of unlabelled has a known label" in done.output
