"""What is handed in: its check, its ledger, Kaggle; through `python -m deepfake`."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pipeline import TINY, Done, locked

from deepfake.arguments import load_config
from deepfake.config import Config
from deepfake.errors import UserError
from deepfake.knobs import resolved
from deepfake.score.blending import Blend, BlendOptions
from deepfake.score.formats import FORMATS
from deepfake.sections import SubmitConfig
from deepfake.settings import dataset_of, expected_of
from deepfake.tables import LEDGER, MEDIA, OOF, SCORES
from deepfake.workspace.ensemble import Ensemble
from deepfake.workspace.submission import Submission

Command = Callable[..., Done]
NAMES = ["a.mp4", "b.mp4", "c.mp4", "d.png"]
RIGHT = "filename,label\na.mp4,0.1\nb.mp4,0.2\nc.mp4,0.7\nd.png,0.9\n"


def refused(done: Done, *words: str) -> None:
    assert done.status == 2 and done.output.count("error: ") == 1 and "Traceback" not in done.output, done.output
    for word in words:
        assert word in done.output


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """The raw folder of the data set clips, which is indexed: four test media, and one to train on."""
    (tmp_path / "clips").mkdir()
    rows = [{"media_id": f"test/{name}", "split": "test"} for name in NAMES]
    rows.append({"media_id": "train/e.mp4", "split": "train", "label": 1})
    media = pd.DataFrame(rows).assign(dataset="clips", kind="video", fingerprint="x")
    media["path"] = media.media_id
    MEDIA.write(media.reindex(columns=list(MEDIA.columns)), tmp_path / "data/clips/media.parquet")
    return tmp_path / "clips"


def plant(folder: Path, content: str, name: str = "x", file: str = "submission.csv") -> Path:
    path = folder / "submissions" / name / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


# --- check


def test_a_right_file_is_called_right_and_status_0(deepfake: Command, clips: Path, tmp_path: Path) -> None:
    plant(tmp_path, RIGHT)
    for arguments in (
        ["submissions/x/submission.csv"],
        ["input=submissions/x/submission.csv"],
        [tmp_path / "submissions/x/submission.csv", "submit.format=dfdc"],
    ):
        done = deepfake("check", *arguments, "data.root=clips")
        assert done.status == 0 and len(done.output.splitlines()) == 2
        assert "compared with nothing: runs/clips has no out-of-fold logits" in done.output
        assert "is right: 4 rows" in done.output and "0.1 to 0.9, mean 0.475" in done.output


def test_every_kind_of_fault_is_a_line_and_the_status_is_2(deepfake: Command, clips: Path, tmp_path: Path) -> None:
    plant(tmp_path, RIGHT.replace("b.mp4,0.2", "z.mp4,two"))
    done = deepfake("check", "submissions/x/submission.csv", "data.name=clips")
    refused(done, "3 kinds of faults", "submit.format=csv of clips")
    lines = [line.strip().partition(":")[0] for line in done.output.splitlines()[1:]]
    assert lines == ["missing", "extra", "not a number"]


def test_a_sample_submission_says_what_is_right(deepfake: Command, clips: Path, tmp_path: Path) -> None:
    (clips / "sample_submission.csv").write_text("id,fake\nd,0\na,0\n")
    plant(tmp_path, "id,fake\nd,0.9\na,0.1\n")
    assert deepfake("check", "submissions/x/submission.csv", "data.root=clips").status == 0
    plant(tmp_path, "id,fake\na,0.1\nd,0.9\n")
    refused(deepfake("check", "submissions/x/submission.csv", "data.root=clips"), "order: row 1 is 'a'")
    refused(deepfake("check", "submissions/x/submission.csv", "data.root=clips", "submit.format=ntire"), "not a zip")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check"], ["check needs a file"]),
        (["check", "no/such.csv", "data.root=clips"], ["unreadable: no/such.csv: No such file"]),
        (["train", "x/submission.csv"], ["'x/submission.csv' is a file, which only infer, predict, check take"]),
        (["check", "a.csv", "b.csv"], ["one file at a time"]),
        (["check", "a.csv", "data.name=other"], ["data/other/media.parquet does not exist"]),
        (["check", "a.csv", "data.root=clips", "submit.format=dfcd"], ["submit.format=dfcd", "dfdc"]),
        (
            ["check", "a.txt", "data.root=clips", "submit.format=ntire", "infer.sample_submission=s.csv"],
            ["infer.sample_submission=s.csv", "submit.format=ntire", "leave one of them out"],
        ),
        (["infer", "submit=kaggle"], ["submit.to=kaggle submit.competition="]),
        (["infer", "submit.to=kaggle"], ["submit.to=kaggle needs submit.competition="]),
        (["infer", "submit.competition=https://kaggle.com/c/x"], ["submit.competition=https", "last part"]),
        (["ledger", "public=0.4"], ["public=0.4", "name="]),
        (["ledger", "name=y", "public=.nan"], ["public=nan", "finite"]),
        (["ledger", "name=y", "public=high"], ["public=high", "float"]),
    ],
)
def test_what_is_typed_wrong_is_answered(
    deepfake: Command, clips: Path, arguments: list[str], words: list[str]
) -> None:
    refused(deepfake(*arguments), *words)


def plant_scores(folder: Path, logits: list[float], name: str = "x") -> None:
    """scores.csv and config.json as infer leaves them."""
    rows = pd.DataFrame({"media_id": [f"test/{name}" for name in NAMES], "logit": logits})
    SCORES.write(rows.assign(fallback=None, crops=1, frames=1), folder / "submissions" / name / "scores.csv")
    config = {"data": {"root": "clips"}, "submit": {"format": "spcup"}}
    (folder / "submissions" / name / "config.json").write_text(json.dumps(config))


def test_what_lies_beside_a_file_says_how_to_check_it(deepfake: Command, clips: Path, tmp_path: Path) -> None:
    plant(tmp_path, RIGHT.replace("label", "score"))
    plant_scores(tmp_path, [-1, -2, -3, 2])
    assert "submit.format=spcup" in deepfake("check", "submissions/x/submission.csv").output
    plant_scores(tmp_path, [3, 2, 1, 2])
    assert deepfake("check", "submissions/x/submission.csv", "data.root=clips").status == 0
    plant_scores(tmp_path, [-3, -2, 1, 2])
    refused(deepfake("check", "submissions/x/submission.csv"), "inverted: rank correlation -1.000")
    (tmp_path / "submissions/x/config.json").write_text("{")
    refused(deepfake("check", "submissions/x/submission.csv"), "config.json is damaged")


def plant_run(folder: Path, run: str, logits: dict[str, float], tta: list[str]) -> None:
    """What check reads of a run: 20 media out of fold, each with these logits by view, and one without a face."""
    fold = folder / "runs" / run / "fold0"
    fold.mkdir(parents=True)
    for name in ("done.json", "best.safetensors"):
        (fold / name).write_text("{}")
    (fold / "best.json").write_text(json.dumps({"dataset": "clips"}))
    (fold / "config.json").write_text(json.dumps({"config": {"infer": {"tta": tta}}, "made_from": {}}))
    key = {"frame_idx": 0, "face_idx": 0, "track_id": 0, "prob": 0.9, "side": 9.0, "sharpness": 1.0}
    rows = [
        {"media_id": f"{number}", "view": view, "found": number > 0, "label": number % 2, **key}
        | {"logit": logit if number else -50.0}
        for number in range(21)
        for view, logit in logits.items()
    ]
    OOF.write(pd.DataFrame(rows), fold / "oof.parquet")


SURE = RIGHT.replace("0.1", "0.97").replace("0.2", "0.98").replace("0.7", "0.99")  # mean .96, at logit 3.2


def test_a_foreign_file_is_compared_by_the_views_that_its_run_infers_with(
    deepfake: Command, clips: Path, tmp_path: Path
) -> None:
    (tmp_path / "team.csv").write_text(SURE)
    plant_run(tmp_path, "a", {"identity": 3.2, "vflip": -50.0}, ["identity"])
    done = deepfake("check", "team.csv", "data.root=clips", "name=a")
    assert done.status == 0 and len(done.output.splitlines()) == 1, done.output
    (tmp_path / "team.csv").write_text(RIGHT)
    done = deepfake("check", "team.csv", "data.root=clips", "name=a")
    assert "warning: team.csv spread unlike out-of-fold: mean P(fake) 0.475, out-of-fold 0.961" in done.output


def test_labels_are_compared_with_decisions(deepfake: Command, clips: Path, tmp_path: Path) -> None:
    plant_run(tmp_path, "a", {"identity": 0.5}, ["identity"])  # P(fake) .62: fake, of all
    rows = RIGHT.splitlines()
    labels = [line.rpartition(",")[0] + (",0" if number == 0 else ",1") for number, line in enumerate(rows[1:])]
    (tmp_path / "team.csv").write_text("\n".join([rows[0], *labels]) + "\n")
    done = deepfake("check", "team.csv", "data.root=clips", "name=a", "submit.format=aifactory")
    assert done.status == 0 and "warning" not in done.output, done.output
    done = deepfake("check", "team.csv", "data.root=clips", "name=a", "submit.format=aifactory", "submit.threshold=0.9")
    assert "warning: team.csv looks inverted" in done.output or "spread unlike" in done.output, done.output


def test_a_foreign_file_is_compared_with_what_its_blend_was_fitted_on(
    deepfake: Command, clips: Path, tmp_path: Path
) -> None:
    (tmp_path / "team.csv").write_text(SURE)
    plant_run(tmp_path, "a", {"identity": -20.0, "hflip": -20.0}, ["identity", "hflip"])
    plant_run(tmp_path, "b", {"identity": 5.2, "hflip": -50.0}, ["identity", "hflip"])
    blend = Blend(("a", "b"), BlendOptions(inverted=("a",)), (0.05, 0.5), offset=-0.4)  # 20 / 20 + 5.2 / 2 - .4
    record = {"blend": blend.to_json(), "of_fewer_runs": [], "views": ["identity"], "weights_sha256": {"a": {}}}
    (tmp_path / "runs/mix").mkdir()
    (tmp_path / "runs/mix/blend.json").write_text(json.dumps(record))
    done = deepfake("check", "team.csv", "data.root=clips", "name=mix")
    assert done.status == 0 and len(done.output.splitlines()) == 1, done.output
    (tmp_path / "team.csv").write_text(RIGHT)
    done = deepfake("check", "team.csv", "data.root=clips", "name=mix")
    assert done.status == 0 and "mean P(fake) 0.475, out-of-fold 0.961" in done.output, done.output
    (tmp_path / "runs/mix/blend.json").write_text("{")
    done = deepfake("check", "team.csv", "data.root=clips", "name=mix")
    assert done.status == 0 and "compared with nothing: runs/mix/blend.json is damaged" in done.output, done.output


def test_a_check_finds_the_tables_where_the_submission_was_written_from(
    deepfake: Command, clips: Path, tmp_path: Path
) -> None:
    path = plant(tmp_path, RIGHT)
    shutil.move(tmp_path / "data", tmp_path / "alt/data")
    refused(deepfake("check", path, "data.root=clips"), "data/clips/media.parquet does not exist")
    saved = resolved(load_config(["data.root=clips", "paths.data=alt/data", "paths.runs=alt/runs"]))
    (path.parent / "config.json").write_text(json.dumps(saved))
    done = deepfake("check", path)
    assert done.status == 0 and "alt/runs" in done.output, done.output
    assert deepfake("check", path, "data.name=clips").status == 0
    refused(deepfake("check", path, "paths.data=other"), "other/clips/media.parquet does not exist")


# --- decisions


@pytest.mark.parametrize(("tuned", "labels"), [(None, [0, 0, 1, 1]), (40.0, [0, 0, 0, 1]), (0.0, [0, 1, 1, 1])])
def test_a_tuned_threshold_goes_before_the_setting_as_the_logit_that_it_is(
    here: Path, tuned: float | None, labels: list[int]
) -> None:
    blend = Blend(("one",), BlendOptions(threshold=tuned is not None), (1.0,), threshold=tuned or 0.0)
    logits = [-60.0, 0.0, 10.0, 45.0]
    path = submit(here, logits, blend=blend, format="aifactory", threshold=0.75)
    assert pd.read_csv(path).label.tolist() == labels


@pytest.mark.parametrize(("threshold", "label"), [(0.0, 1), (1.0, 0)])
def test_a_threshold_of_0_or_1_decides_for_all(here: Path, threshold: float, label: int) -> None:
    path = submit(here, [-1e3, 0, 40, 1e3], format="aifactory", threshold=threshold)
    assert pd.read_csv(path).label.tolist() == [label] * 4


# --- ledger


PLAIN = Blend(("one",), BlendOptions(), (1.0,))


def submit(
    folder: Path,
    logits: list[float],
    name: str = "x",
    cv: float | None = None,
    blend: Blend = PLAIN,
    **settings: str | float,
) -> Path:
    """What infer does once it has logits."""
    cfg = Config(name=name, submit=SubmitConfig(**settings))
    media_logits = pd.Series(logits, index=[f"test/{name}" for name in NAMES])
    expected = expected_of(cfg, dataset_of(cfg), media_logits.index.to_series())
    threshold = Ensemble("one", [], [blend], ["identity"]).decision_logit(cfg.submit.threshold)
    row = {"runs": "one,two", "config_sha256": "0" * 64, "cv": cv, "cv_metric": "log_loss" if cv else None}
    submission = Submission(cfg.paths.submissions / name)
    flat = submission.write(expected, media_logits, threshold=threshold, row=row)
    if cfg.submit.to == "kaggle":
        submission.hand_to_kaggle(expected, cfg.submit.competition, cfg.submit.message, flat)
    return submission.file(expected)


@pytest.fixture
def here(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ledger(folder: Path) -> pd.DataFrame:
    return LEDGER.read(folder / "submissions/ledger.csv")


def test_each_file_has_its_row_and_the_same_file_keeps_it(deepfake: Command, here: Path) -> None:
    submit(here, [-1, 0, 1, 2])
    submit(here, [-1, 0, 1, 3])
    assert deepfake("ledger", "name=x", "public=0.41").status == 0
    before = ledger(here)
    assert before.public.tolist()[1] == 0.41 and np.isnan(before.public[0])
    assert before["name"].tolist() == ["x", "x"] and before.sha256.nunique() == 2
    assert before.runs.tolist() == ["one,two"] * 2 and before.rows.tolist() == [4, 4]
    assert before.config_sha256.nunique() == 1 and before.created.str.endswith("+00:00").all()
    submit(here, [-1, 0, 1, 3])
    pd.testing.assert_frame_equal(ledger(here), before)
    submit(here, [-1, 0, 1, 2], cv=0.3)  # the first one again: it is the newest now, whose scores are entered
    assert deepfake("ledger", "name=x", "public=0.5", "private=0.6").status == 0
    after = ledger(here)
    assert after.public.tolist() == [0.41, 0.5] and after.private.tolist()[1] == 0.6 and after.cv.tolist()[1] == 0.3
    assert after.created.tolist() == before.created.tolist()[::-1]


def test_the_ledger_shows_cv_against_the_board_and_what_is_nearly_the_same(deepfake: Command, here: Path) -> None:
    assert "no submission yet" in deepfake("ledger").output
    for name, last, cv, public in (("x", 2.0, 0.30, 0.41), ("y", 2.001, 0.31, 0.44), ("z", -5.0, 0.36, 0.43)):
        submit(here, [-1, 0, 1, last], name, cv)
        assert "needs 3 submissions" in deepfake("ledger").output
        assert deepfake("ledger", f"name={name}", f"public={public}").status == 0
    done = deepfake("ledger")
    assert done.status == 0
    lines = done.output.splitlines()
    assert lines[0].split()[:2] == ["name", "created"] and [line.split()[0] for line in lines[1:4]] == ["x", "y", "z"]
    assert lines[1].split()[-5:] == ["0.30000", "0.41000", "-", "0.11000", "-"]
    assert "cv (log_loss) and public: rank correlation 0.500 over 3 submissions" in done.output
    assert [line.split(":")[0] for line in lines if "nearly" in line] == ["x and y are nearly equal"]


def test_an_unknown_name_and_a_damaged_ledger_are_one_clear_line(deepfake: Command, here: Path) -> None:
    submit(here, [-1, 0, 1, 2])
    refused(deepfake("ledger", "name=y", "public=0.4"), "name=y", "there are: x")
    path = here / "submissions/ledger.csv"
    whole = path.read_text()
    for damage in (whole.replace("public", "board"), whole.replace(",4,", ",four,"), whole + whole.splitlines()[1]):
        path.write_text(damage)
        for arguments in (["ledger"], ["ledger", "name=x", "public=0.4"]):
            refused(deepfake(*arguments), "submissions/ledger.csv is damaged: mend it")
        assert path.read_text() == damage


def test_submissions_that_are_written_together_all_have_rows(here: Path) -> None:
    (here / "submissions").mkdir()
    with locked(here / "submissions/.ledger.lock"):
        waiting = threading.Thread(target=submit, args=(here, [-1, 0, 1, 2]))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive() and not (here / "submissions/ledger.csv").exists()
    waiting.join(20)
    assert len(ledger(here)) == 1


@pytest.mark.filterwarnings("error")
def test_every_format_is_written_checked_and_entered(deepfake: Command, here: Path) -> None:
    for name in FORMATS:
        path = submit(here, [-1, 0.5, 1, 2], name, format=name)
        done = deepfake("check", path, "data.root=clips", f"submit.format={name}")
        assert done.status == 0, done.output
    assert ledger(here).format.tolist() == list(FORMATS)


# --- kaggle


@pytest.fixture
def kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[str]]:
    """`kaggle(status)` puts a command of that name on PATH, which ends so; gives what it was told until now."""
    folder = tmp_path / "bin"
    folder.mkdir()
    told = tmp_path / "told"
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def become(status: int) -> list[str]:
        script = (
            f'#!/bin/sh\nprintf "%s\\n" "$@" > {told}\necho "100% uploaded"\necho "the board heard"\nexit {status}\n'
        )
        (folder / "kaggle").write_text(script)
        (folder / "kaggle").chmod(0o755)
        return told.read_text().splitlines() if told.exists() else []

    return become


def test_kaggle_is_handed_the_file_where_that_is_asked_for(here: Path, kaggle: Callable) -> None:
    kaggle(0)
    submit(here, [-1, 0, 1, 2])
    assert kaggle(0) == []
    path = submit(here, [-1, 0, 1, 2], to="kaggle", competition="deepfakes", message="first; $(try)")
    asked = ["competitions", "submit", "-c", "deepfakes", "-f", str(path), "-m", "first; $(try)"]
    assert kaggle(0) == asked


def test_kaggle_that_fails_is_told_with_what_it_said_and_the_file_is_kept(here: Path, kaggle: Callable) -> None:
    kaggle(1)
    with pytest.raises(UserError, match=r"status 1 \(.*the board heard"):
        submit(here, [-1, 0, 1, 2], to="kaggle", competition="deepfakes")
    assert (here / "submissions/x/submission.csv").is_file() and len(ledger(here)) == 1


def test_one_score_for_all_is_not_handed_in(here: Path, kaggle: Callable) -> None:
    kaggle(0)
    with pytest.raises(UserError, match="not handed to Kaggle: constant"):
        submit(here, [1, 1, 1, 1], to="kaggle", competition="deepfakes")
    assert kaggle(0) == []


def test_the_whole_way_is_checked_entered_and_handed_in(
    deepfake: Command, cut_people: Path, demo_root: Path, tmp_path: Path, kaggle: Callable
) -> None:
    shutil.copytree(cut_people, tmp_path, dirs_exist_ok=True)
    to_kaggle = ("submit.to=kaggle", "submit.competition=deepfakes")
    chain = ("train", "infer", f"data.root={demo_root}", *TINY, "train.epochs=1", "fold=0", *to_kaggle)
    refused(deepfake(*chain), "needs the kaggle command")
    assert not (tmp_path / "runs").exists()  # said before the long work
    kaggle(0)
    done = deepfake(*chain)
    assert done.status == 0 and "checked → submissions/people/submission.csv" in done.output, done.output
    assert "kaggle says: 100% uploaded the board heard" in done.output
    assert kaggle(0)[:4] == ["competitions", "submit", "-c", "deepfakes"]
    assert ledger(tmp_path)["name"].tolist() == ["people"]
    assert json.loads((tmp_path / "submissions/people/config.json").read_text())["name"] == "people"  # for check
    assert deepfake("check", "submissions/people/submission.csv").status == 0
    sure = pd.read_csv(tmp_path / "submissions/people/submission.csv")
    sure["label"] = np.linspace(0.98, 0.99, len(sure))
    sure.to_csv(tmp_path / "sure.csv", index=False)
    done = deepfake("check", "sure.csv", f"data.root={demo_root}")
    assert done.status == 0 and "warning: sure.csv spread unlike out-of-fold: mean P(fake) 0.985" in done.output
    (tmp_path / "told").unlink()
    assert deepfake("infer", f"data.root={demo_root}", "submit.format=ntire").status == 0
    assert kaggle(0) == []  # the run was trained with submit.to=kaggle; nothing is handed in without being asked anew
    assert deepfake("check", "submissions/people/submission.zip").status == 0
    assert ledger(tmp_path).format.tolist() == ["csv", "ntire"]
