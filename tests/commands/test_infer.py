"""Inference on folders as they come, killed, resumed, and short of time; through `python -m deepfake`."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from pipeline import DIES_AT_A_RENAME, THOROUGH, Done, built, run, start

if TYPE_CHECKING:
    from deepfake.config import Config
    from deepfake.workspace.ensemble import Ensemble

Command = Callable[..., Done]
CLIPS, BROKEN, FACELESS = 24, 3, 3  # of which a tenth each
INFER = ("index", "infer", "name=people", "data.root=odd", "data.layout=unlabelled", "num_workers=1")


@pytest.fixture(scope="session")
def odd(trained: Path, demo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the run `people`, and a folder of media: a tenth broken, a tenth without a face."""
    return built(
        tmp_path_factory,
        "odd",
        lambda folder: add_odd_media(shutil.copytree(trained, folder, dirs_exist_ok=True), demo_root),
    )


def add_odd_media(folder: Path, demo_root: Path) -> None:
    from PIL import Image

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


@pytest.fixture(scope="session")
def inferred(odd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the submission on those media; screen.txt is what was said."""

    def infer(folder: Path) -> None:
        run(shutil.copytree(odd, folder, dirs_exist_ok=True), *INFER, "num_workers=2")

    return built(tmp_path_factory, "inferred", infer)


@pytest.fixture
def here(odd: Path, tmp_path: Path) -> Path:
    """A copy of that run and media, to spoil; it is where the `deepfake` fixture runs."""
    return shutil.copytree(odd, tmp_path, dirs_exist_ok=True)


@pytest.fixture
def done_here(inferred: Path, tmp_path: Path) -> Path:
    """A copy of that run, media and their submission."""
    return shutil.copytree(inferred, tmp_path, dirs_exist_ok=True)


def submission(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "submissions/people_odd/submission.csv")


def whole(table: pd.DataFrame) -> bool:
    return len(table) == CLIPS + BROKEN + FACELESS and bool(table.label.between(0, 1).all())


def test_broken_and_faceless_media_are_counted_and_get_a_fallback(deepfake: Command, done_here: Path) -> None:
    here, said = done_here, (done_here / "screen.txt").read_text()
    assert whole(submission(here))
    for reason, count in (("no_face", FACELESS), ("unreadable", BROKEN)):
        assert f"{count} of 30 (10.0 %) test media got the fallback logit" in said
        assert f"{reason}: " in said
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


def test_media_are_scored_alike_whether_cut_before_or_on_the_way(deepfake: Command, here: Path, inferred: Path) -> None:
    assert deepfake("index", "extract", *INFER[1:]).status == 0
    pd.testing.assert_frame_equal(submission(here), submission(inferred), check_exact=False, atol=1e-6)


def test_whenever_it_is_killed_a_valid_submission_lies_there_and_nothing_is_done_twice(
    here: Path, inferred: Path
) -> None:
    path, going_on = here / "submissions/people_odd/submission.csv", []
    for number in range(2, 100, 1 if THOROUGH else 3):
        was_there = path.is_file()
        done = start(here, *INFER, prelude=DIES_AT_A_RENAME, RENAMES_BEFORE_DEATH=str(number)).ended()
        going_on += re.findall(r"going on: (\d+) media are scored", done.output)
        if done.status == 0:
            break
        assert done.status == -signal.SIGKILL, done.output
        assert path.is_file() or not was_there
        assert whole(submission(here)) if path.is_file() else not list(path.parent.glob("parts/*/*"))
    assert going_on and int(going_on[0]) > 0 and [*map(int, going_on)] == sorted(map(int, going_on))
    pd.testing.assert_frame_equal(submission(here), submission(inferred), check_exact=False, atol=1e-6)


@dataclass
class Slow:
    """Models whose passes take PASS_S seconds on a clock that is put forward, so that nobody waits."""

    skipped_s: float = 0.0
    passes: int = 0


PASS_S = 4.0


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    from deepfake.learn.predictor import Predictor

    slow, score, monotonic = Slow(), Predictor.score, time.monotonic

    def slowly(self: Predictor, crops: list[Path], *, views: list[str], members: int) -> np.ndarray:
        passes = len(crops) * len(views) * members
        slow.passes += passes
        slow.skipped_s += PASS_S * passes
        return score(self, crops, views=views, members=members)

    monkeypatch.setattr(Predictor, "score", slowly)
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + slow.skipped_s)
    return slow


def test_a_third_of_the_time_is_kept_to_by_doing_less_for_every_medium(
    deepfake: Command, done_here: Path, slow: Slow
) -> None:
    folder, command = done_here / "submissions/people_odd", (*INFER[1:], "infer.tta=[identity,hflip,vflip]")
    shutil.rmtree(folder)  # all is cut, so that all that takes time is what is slowed
    began = time.monotonic()
    assert deepfake(*command).status == 0
    needed_s, full = time.monotonic() - began, slow.passes
    shutil.rmtree(folder)
    began, slow.passes = time.monotonic(), 0
    budget = f"infer.budget_minutes={needed_s / 3 / 60}"
    done = deepfake(*command, budget)
    took_s = time.monotonic() - began
    assert done.status == 0, done.output
    assert took_s < needed_s / 3, done.output
    assert whole(submission(done_here))
    assert "forecast: " in done.output and "from here on 1 of 3 views" in done.output
    assert "not scored in time" in done.output
    assert slow.passes < full / 2
    scores = pd.read_csv(folder / "scores.csv")
    assert (scores.fallback == "late").sum() <= 6  # less for each, and not nothing for the last ones
    assert "media scored with less" in deepfake(*command, budget).said  # what is thin stays thin
    more = deepfake(*command)  # with all the time there is, the rest is done, and what was thin is done again
    assert "media scored with less" not in more.said
    assert pd.read_csv(folder / "scores.csv").fallback.isin(["late"]).sum() == 0
    logits = pd.read_parquet(folder / "logits.parquet")
    counts = logits[logits.run == "people"].groupby(["media_id", "frame_idx", "face_idx"]).size()
    assert (counts == 3 * 2).all()  # views, folds


def test_what_was_cut_in_haste_is_cut_and_scored_again_when_there_is_time(
    deepfake: Command, here: Path, slow: Slow
) -> None:
    def frames() -> pd.Series:
        scores = pd.read_csv(here / "submissions/people_odd/scores.csv")
        return scores[scores.media_id.str.startswith("clip")].frames

    done = deepfake(*INFER, "infer.budget_minutes=6")  # 13 are needed
    assert "media scored with less" in done.said and "every 2nd frame" in done.said
    assert whole(submission(here)) and (frames() == 1).any()
    assert "media scored with less" not in deepfake(*INFER).said
    assert (frames() == 2).all()  # extract.num_frames
    assert "infer    up to date" in deepfake(*INFER).output


def test_a_deadline_before_the_first_medium_still_leaves_every_row(deepfake: Command, here: Path) -> None:
    done = deepfake(*INFER, "infer.budget_minutes=0.001")
    assert done.status == 0, done.output
    table = submission(here)
    assert whole(table) and table.label.nunique() == 1
    assert "30 of 30 (100.0 %) test media got the fallback logit" in done.output and "late: " in done.output


# Leaves for a network namespace of its own, in which there is no interface that is up.
NO_NETWORK = """
import ctypes, errno, socket
assert ctypes.CDLL(None, use_errno=True).unshare(0x50000000) == 0, "CLONE_NEWUSER, CLONE_NEWNET"
try:
    socket.create_connection(("127.0.0.1", 9), 1)
except OSError as error:
    assert error.errno == errno.ENETUNREACH, error
"""


@pytest.mark.skipif(
    subprocess.run(["unshare", "--user", "--net", "true"], capture_output=True, check=False).returncode != 0
    if shutil.which("unshare")
    else True,
    reason="needs unshare, and leave to make a network namespace",
)
def test_inference_needs_no_network(here: Path) -> None:
    run(here, *INFER, prelude=NO_NETWORK)
    assert whole(submission(here))
