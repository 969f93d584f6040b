"""The demo set is the same for any number of workers, survives interruption and treats its classes alike."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import av
import cv2
import pytest

from deepfake.demo.render import LISTING, PLAN, SUBMISSION, TEST_LABELS, render_demo
from deepfake.demo.shots import DemoPlan, plan_shots


def _hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _media(folder: Path) -> list[Path]:
    return list((folder / "media").rglob("*.*"))


def _dates(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def plan(demo_root: Path) -> DemoPlan:
    """What `demo_root` was rendered from, by two processes."""
    return DemoPlan(**json.loads((demo_root / PLAN).read_text()))


def test_an_interrupted_render_is_unfinished_and_goes_on_to_the_same_bytes(
    demo_root: Path, plan: DemoPlan, tmp_path: Path
) -> None:
    """One process renders the test part beside a finished train part: it is stopped early, and goes on."""

    class Interrupted(Exception):
        pass

    def stop_early(done: int, total: int) -> None:
        if done > num_train:
            raise Interrupted

    folder = tmp_path / "demo"
    shutil.copytree(demo_root, folder, ignore=shutil.ignore_patterns(LISTING, TEST_LABELS, SUBMISSION, "test"))
    num_train = len(_media(folder))
    with pytest.raises(Interrupted):
        render_demo(folder, num_workers=1, on_progress=stop_early, **asdict(plan))
    assert not (folder / LISTING).exists() and len(_media(folder)) > num_train
    clip = next((folder / "media/test").glob("*.mp4"))  # a kill leaves a clip half written
    clip.with_name(f"{clip.name}.part").write_bytes(clip.read_bytes()[:1000])
    clip.unlink()
    progress = []
    render_demo(folder, num_workers=1, on_progress=lambda done, total: progress.append((done, total)), **asdict(plan))
    total = len(_media(demo_root))
    assert num_train <= progress[0][0] < total and progress[-1] == (total, total)
    assert _hashes(folder) == _hashes(demo_root)


def test_a_second_call_does_nothing_and_another_plan_is_refused(
    demo_root: Path, plan: DemoPlan, tmp_path: Path
) -> None:
    folder = shutil.copytree(demo_root, tmp_path / "demo")
    before, dates = _hashes(folder), _dates(folder)
    progress = []
    render_demo(folder, on_progress=lambda done, total: progress.append((done, total)), **asdict(plan))
    assert progress == [(len(_media(folder)),) * 2]
    assert _hashes(folder) == before and _dates(folder) == dates
    with pytest.raises(ValueError, match="another plan"):
        render_demo(folder, **asdict(plan) | {"seed": plan.seed + 1})


def test_tables_name_every_medium_once_and_hide_the_test_labels(demo_root: Path) -> None:
    listing, hidden, submission = (_rows(demo_root / name) for name in (LISTING, TEST_LABELS, SUBMISSION))
    media = {str(path.relative_to(demo_root)) for path in _media(demo_root)}
    assert {row["path"] for row in listing} == media and len(listing) == len(media)
    test = [row for row in listing if row["split"] == "test"]
    assert {row["label"] + row["method"] + row["source_id"] + row["donor_id"] for row in test} == {""}
    assert [row["path"] for row in hidden] == [row["path"] for row in test]
    assert [row["filename"] for row in submission] == [Path(row["path"]).name for row in test]
    assert {row["label"] for row in submission} == {"0.5"}
    assert {row["method"] for row in hidden} == {"real", "swap", "upsampled", "self_blend", "reenact"}
    train = [row for row in listing if row["split"] == "train"]
    assert all((row["label"] == "0") == (row["method"] == "real") for row in train)
    assert all(bool(row["donor_id"]) == (row["method"] == "swap") for row in train)


def _technical(path: Path) -> tuple:
    """All that a container says about its picture, with the encoder's own note of its settings."""
    if path.suffix != ".mp4":
        return path.suffix, cv2.imread(str(path)).shape
    with av.open(str(path)) as clip:
        stream = clip.streams.video[0]
        note = re.search(rb"x264 - core.*?qpmin=\d+", path.read_bytes(), re.DOTALL)
        return stream.frames, stream.average_rate, stream.height, stream.width, stream.pix_fmt, note.group()


def test_media_of_one_shot_differ_in_nothing_technical(demo_root: Path, plan: DemoPlan) -> None:
    shots = plan_shots(plan)
    assert len({shot.form for shot in shots}) > 1
    for shot in shots:
        paths = [demo_root / path for _, path in shot.media]
        assert len({_technical(path) for path in paths}) == 1
        assert len({path.stat().st_mtime_ns for path in paths}) == 1


def test_partners_swap_with_each_other() -> None:
    shots = plan_shots(DemoPlan(seed=0, num_train=40, num_test=14))
    assert {frozenset((shot.person, shot.donor)) for shot in shots} == {frozenset((k, k + 1)) for k in range(0, 54, 2)}
    names = [path for shot in shots for _, path in shot.media]
    assert len(set(names)) == len(names) == 160 + 84
    stills = sum(shot.num_frames == 1 for shot in shots) / len(shots)
    assert 0.15 < stills < 0.35


def test_an_odd_number_of_people_is_refused() -> None:
    with pytest.raises(ValueError, match="num_train is 3"):
        render_demo(Path("unused"), num_train=3)
