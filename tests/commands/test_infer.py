"""Inference on folders as they come, killed, resumed, and short of time; through `python -m deepfake`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from pipeline import TINY, Done, environment, run_in

if TYPE_CHECKING:
    from deepfake.config import Config
    from deepfake.workspace.ensemble import Ensemble

Command = Callable[..., Done]
CLIPS, BROKEN, FACELESS = 24, 3, 3  # of which a tenth each


@pytest.fixture(scope="module")
def trained(cut_people: Path, demo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained run of two folds, and a folder of media: a tenth broken, a tenth without a face."""
    from PIL import Image

    folder = shutil.copytree(cut_people, tmp_path_factory.mktemp("infer"), dirs_exist_ok=True)
    run_in(folder, "train", f"data.root={demo_root}", *TINY, "train.epochs=1", "num_workers=0")
    odd = folder / "odd"
    odd.mkdir()
    clips = sorted((demo_root / "media/test").glob("*.mp4")) + sorted((demo_root / "media/train").glob("*.mp4"))
    for number, clip in enumerate(clips[:CLIPS]):
        shutil.copy(clip, odd / f"clip{number:02d}.mp4")
    for number in range(BROKEN):
        (odd / f"broken{number}.mp4").write_bytes(clips[0].read_bytes()[: 40 * number])
    for number in range(FACELESS):
        Image.fromarray(np.full((120, 160, 3), 40 * number, np.uint8)).save(odd / f"faceless{number}.png")
    assert len(list(odd.iterdir())) == CLIPS + BROKEN + FACELESS
    return folder


INFER = ("index", "infer", "name=people", "data.root=odd", "data.layout=unlabelled", "num_workers=2")


def submission(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "submissions/people_odd/submission.csv")


def whole(table: pd.DataFrame) -> bool:
    return len(table) == CLIPS + BROKEN + FACELESS and bool(table.label.between(0, 1).all())


def test_broken_and_faceless_media_are_counted_and_get_a_fallback(deepfake: Command, here: Path) -> None:
    done = deepfake(*INFER)
    assert done.status == 0, done.output
    assert whole(submission(here))
    for reason, count in (("no_face", FACELESS), ("unreadable", BROKEN)):
        assert f"{count} of 30 (10.0 %) test media got the fallback logit" in done.output
        assert f"{reason}: " in done.output
    scores = pd.read_csv(here / "submissions/people_odd/scores.csv")
    assert scores.fallback.value_counts().to_dict() == {"no_face": FACELESS, "unreadable": BROKEN}
    assert (scores.crops[scores.fallback.isna()] > 0).all() and (scores.crops[scores.fallback.notna()] == 0).all()
    logits = pd.read_parquet(here / "submissions/people_odd/logits.parquet")
    assert set(logits.media_id) == set(scores.media_id)
    assert logits.fallback[logits.run == ""].value_counts().to_dict() == {"no_face": FACELESS, "unreadable": BROKEN}
    assert (logits.found == (logits.run != "")).all()  # no model is asked about what has no face
    assert set(logits.media_id[logits.fallback == "no_face"]) == {f"faceless{number}.png" for number in range(FACELESS)}
    problems = pd.read_csv(here / "submissions/people_odd/infer_problems.csv")
    assert set(problems.media_id) == set(scores.media_id[scores.fallback.notna()])
    faces = pd.read_parquet(here / "data/odd/faces.parquet")  # what was cut on the way is kept
    assert faces.media_id.nunique() == CLIPS + FACELESS
    again = deepfake(*INFER)
    assert "infer    up to date" in again.output


@pytest.fixture
def few(here: Path) -> Path:
    """The same with five media."""
    for path in (here / "odd").iterdir():
        if path.stem not in ("clip00", "clip01", "clip02", "faceless0", "broken1"):
            path.unlink()
    return here


def test_changed_fallback_logits_are_handed_in_anew(
    deepfake: Command, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepfake.commands import infer

    def changed(cfg: Config, read: Callable[[Config], Ensemble] = infer.ensemble_of) -> Ensemble:
        ensemble = read(cfg)
        return replace(ensemble, fallbacks=ensemble.fallbacks | {"no_face": {"logit": 1.25, "from": "a test"}})

    assert deepfake(*INFER).status == 0
    monkeypatch.setattr(infer, "ensemble_of", changed)
    done = deepfake(*INFER)
    assert done.status == 0 and "fallback logit 1.250 (a test): no_face: faceless0.png" in done.output, done.output
    table = submission(few).set_index("filename").label
    assert table["faceless0.png"] == pytest.approx(1 / (1 + np.exp(-1.25)))
    assert "infer    up to date" in deepfake(*INFER).output


def test_a_valid_submission_lies_there_before_the_first_medium_is_scored(
    deepfake: Command, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever lies there from before; one that is valid stays."""
    from deepfake.commands import infer
    from deepfake.errors import UserError

    def load_nothing(*_: object) -> None:
        raise UserError("no models today")

    monkeypatch.setattr(infer, "predictor_of", load_nothing)
    folder = few / "submissions/people_odd"
    folder.mkdir(parents=True)
    names = ["broken1.mp4", "clip00.mp4", "clip01.mp4", "clip02.mp4", "faceless0.png"]
    valid = "filename,label\n" + "".join(f"{name},0.{number + 1}\n" for number, name in enumerate(names))
    left = {
        "submission.zip": "of another format",
        "submission.csv": valid.replace("clip", "other"),
        "torn": valid[:60],
        "valid": valid,
    }
    for name, text in left.items():
        path = folder / (name if "." in name else "submission.csv")
        path.write_text(text)
        done = deepfake(*INFER)
        assert done.status == 2 and "no models today" in done.output, done.output
        lying = submission(few)
        assert sorted(lying.filename) == names and lying.label.between(0, 1).all()
        (folder / "submission.zip").unlink(missing_ok=True)
        if name != "valid":
            assert lying.label.nunique() == 1
            (folder / "submission.csv").unlink()
    assert (folder / "submission.csv").read_text() == valid


def test_media_that_are_gone_are_in_no_table(deepfake: Command, few: Path) -> None:
    """Nothing is left to cut then; a clip of another content under the same name is."""
    tables = [few / "data/odd" / name for name in ("extracted.csv", "extract_problems.csv")]

    def cut() -> list[str]:
        faces = pd.read_parquet(few / "data/odd/faces.parquet")
        seen = pd.concat([pd.read_csv(table).media_id for table in tables])
        assert set(faces.media_id) <= set(seen)
        return sorted(seen)

    assert deepfake(*INFER).status == 0
    assert cut() == ["broken1.mp4", "clip00.mp4", "clip01.mp4", "clip02.mp4", "faceless0.png"]
    for name in ("clip01.mp4", "broken1.mp4"):
        (few / "odd" / name).unlink()
    assert deepfake(*INFER).status == 0
    assert cut() == ["clip00.mp4", "clip02.mp4", "faceless0.png"]
    assert "extract  up to date" in deepfake("extract", *INFER[1:]).output
    (few / "odd/clip00.mp4").unlink()
    assert deepfake(*INFER, "infer.budget_minutes=0.0001").status == 0  # time is up at once
    assert cut() == ["clip02.mp4", "faceless0.png"]
    (few / "odd/clip02.mp4").write_bytes((few / "odd/faceless0.png").read_bytes())
    assert deepfake(*INFER, "infer.budget_minutes=0.0001").status == 0
    assert cut() == ["faceless0.png"]


def test_media_are_scored_alike_whether_cut_before_or_on_the_way(deepfake: Command, here: Path) -> None:
    assert deepfake(*INFER).status == 0
    on_the_way = submission(here)
    shutil.rmtree(here / "data/odd")
    shutil.rmtree(here / "submissions/people_odd")
    assert deepfake("index", "extract", *INFER[1:]).status == 0
    pd.testing.assert_frame_equal(submission(here), on_the_way, check_exact=False, atol=1e-6)


def test_whenever_it_is_killed_a_valid_submission_lies_there_and_nothing_is_done_twice(here: Path) -> None:
    command = [sys.executable, "-m", "deepfake", *INFER]
    path, parts = here / "submissions/people_odd/submission.csv", here / "submissions/people_odd/parts"
    seen = 0
    for _ in range(2):
        process = subprocess.Popen(
            command, cwd=here, env=environment(), stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + 120
        while process.poll() is None and len(list(parts.glob("*/[0-9]*.parquet"))) <= seen:
            assert time.monotonic() < deadline
            time.sleep(0.01)
            if path.is_file():
                assert whole(submission(here))
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert whole(submission(here))
        seen = len(list(parts.glob("*/[0-9]*.parquet")))
    assert seen > 0, "it was never killed with something done"
    done = subprocess.run(command, cwd=here, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "going on: " in done.stderr or "up to date" in done.stderr
    killed = submission(here)
    shutil.rmtree(here / "submissions/people_odd")
    subprocess.run(command, cwd=here, env=environment(), capture_output=True, check=True)
    pd.testing.assert_frame_equal(submission(here), killed, check_exact=False, atol=1e-6)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A pass of a crop through a model takes 40 ms; how many there were."""
    from deepfake.learn.predictor import Predictor
    from deepfake.score import clock

    counted, score = {"passes": 0}, Predictor.score

    def slowly(self: Predictor, crops: list[Path], *, views: list[str], members: int) -> np.ndarray:
        passes = len(crops) * len(views) * members
        counted["passes"] += passes
        time.sleep(0.08 * passes)
        return score(self, crops, views=views, members=members)

    monkeypatch.setattr(Predictor, "score", slowly)
    monkeypatch.setattr(clock, "RESERVE_S", 1.0)
    return counted


def test_a_third_of_the_time_is_kept_to_by_doing_less_for_every_medium(
    deepfake: Command, here: Path, slow: dict[str, int]
) -> None:
    views = "infer.tta=[identity,hflip,vflip]"
    assert deepfake(*INFER, "infer.tta=identity").status == 0  # cuts, so that all that takes time is what is slowed
    shutil.rmtree(here / "submissions/people_odd")
    slow["passes"] = 0
    began = time.monotonic()
    assert deepfake(*INFER[1:], views).status == 0
    needed_s, full = time.monotonic() - began, slow["passes"]
    shutil.rmtree(here / "submissions/people_odd")
    began, slow["passes"] = time.monotonic(), 0
    done = deepfake(*INFER[1:], views, f"infer.budget_minutes={needed_s / 3 / 60}")
    took_s = time.monotonic() - began
    assert done.status == 0, done.output
    assert took_s < needed_s / 3, done.output
    assert whole(submission(here))
    assert "forecast: " in done.output and "from here on 1 of 3 views" in done.output
    assert "not scored in time" in done.output
    assert slow["passes"] < full / 2
    scores = pd.read_csv(here / "submissions/people_odd/scores.csv")
    assert (scores.fallback == "late").sum() <= 6  # less for each, and not nothing for the last ones
    again = deepfake(*INFER[1:], views, f"infer.budget_minutes={needed_s / 3 / 60}")
    assert again.status == 0 and "media scored with less" in again.output, again.output  # what is thin stays thin
    more = deepfake(*INFER[1:], views)  # with all the time there is, the rest is done, and what was thin is done again
    assert more.status == 0 and "media scored with less" not in more.output, more.output
    assert pd.read_csv(here / "submissions/people_odd/scores.csv").fallback.isin(["late"]).sum() == 0
    logits = pd.read_parquet(here / "submissions/people_odd/logits.parquet")
    counts = logits[logits.run == "people"].groupby(["media_id", "frame_idx", "face_idx"]).size()
    assert (counts == 3 * 2).all()  # views, folds


def test_what_was_cut_in_haste_is_cut_and_scored_again_when_there_is_time(
    deepfake: Command, here: Path, slow: dict[str, int]
) -> None:
    done = deepfake(*INFER, "infer.budget_minutes=0.15")
    assert done.status == 0 and "media scored with less" in done.output, done.output
    assert whole(submission(here))
    done = deepfake(*INFER)
    assert done.status == 0 and "media scored with less" not in done.output, done.output
    scores = pd.read_csv(here / "submissions/people_odd/scores.csv")
    clips = scores[scores.media_id.str.startswith("clip")]
    assert (clips.frames == 2).all()  # extract.num_frames
    assert "infer    up to date" in deepfake(*INFER).output


def test_a_deadline_before_the_first_medium_still_leaves_every_row(deepfake: Command, here: Path) -> None:
    done = deepfake(*INFER, "infer.budget_minutes=0.001")
    assert done.status == 0, done.output
    table = submission(here)
    assert whole(table) and table.label.nunique() == 1
    assert "30 of 30 (100.0 %) test media got the fallback logit" in done.output and "late: " in done.output


def no_network(*command: str) -> list[str]:
    """The command in a network namespace of its own, in which there is no interface that is up."""
    return ["unshare", "--map-root-user", "--net", *command]


@pytest.mark.skipif(
    subprocess.run(no_network("true"), capture_output=True, check=False).returncode != 0
    if shutil.which("unshare")
    else True,
    reason="needs unshare, and leave to make a network namespace",
)
def test_inference_needs_no_network(here: Path) -> None:
    reach = "import socket; socket.create_connection(('127.0.0.1', 9), 1)"
    alone = subprocess.run(no_network(sys.executable, "-c", reach), capture_output=True, text=True, check=False)
    assert "Network is unreachable" in alone.stderr
    command = no_network(sys.executable, "-m", "deepfake", *INFER)
    done = subprocess.run(command, cwd=here, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert whole(submission(here))
