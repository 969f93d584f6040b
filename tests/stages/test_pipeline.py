"""The whole way, through `python -m deepfake`, on rendered people."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pipeline import REPOSITORY, TINY, environment

CHAIN = ("index", "folds", "extract", "train", "infer")


@pytest.fixture(scope="module")
def finished(demo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the chain has run to its end."""
    folder = tmp_path_factory.mktemp("finished")
    run(folder, *CHAIN, f"data.root={demo_root}", *TINY)
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of that folder, to spoil; it is where the `deepfake` fixture runs."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "deepfake", *arguments],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


def kill_when(folder: Path, ready: Callable[[], bool], *arguments: str) -> None:
    """Start a command, SIGKILL it and its children once `ready()` holds."""
    command = [sys.executable, "-m", "deepfake", *arguments]
    process = subprocess.Popen(
        command, cwd=folder, env=environment(), stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not ready():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def test_every_expected_row_is_submitted_with_a_probability(finished: Path, demo_root: Path) -> None:
    sample = pd.read_csv(demo_root / "sample_submission.csv")
    submission = pd.read_csv(finished / "submissions/people/submission.csv")
    assert list(submission.columns) == list(sample.columns)
    assert list(submission.filename) == list(sample.filename)
    assert submission.label.between(0, 1).all()


def test_every_medium_has_crops_or_a_problem_and_crops_are_on_disk(finished: Path) -> None:
    data = finished / "data/people"
    media, faces = pd.read_parquet(data / "media.parquet"), pd.read_parquet(data / "faces.parquet")
    problems = pd.read_csv(data / "extract_problems.csv")
    assert set(faces.media_id) | set(problems.media_id) == set(media.media_id)
    assert faces.found.mean() > 0.9
    assert all((data / path).is_file() for path in faces.path)
    assert (faces.x1 > faces.x0).all() and (faces.y1 > faces.y0).all()
    assert np.isfinite(faces.sharpness).all() and (faces.sharpness > 0).all()


def test_every_labelled_medium_is_out_of_fold_once(finished: Path) -> None:
    folds = pd.read_csv(finished / "folds/people.csv")
    oof = pd.concat(pd.read_parquet(path) for path in sorted(finished.glob("runs/people/fold*/oof.parquet")))
    assert set(oof.media_id) == set(folds.media_id)
    assert not oof.duplicated(["media_id", "frame_idx", "face_idx", "view"]).any()
    assert set(oof["view"]) == {"identity", "hflip"}


def test_logits_tell_whose_face_spoke_how_large_and_how_sharp_it_is(finished: Path) -> None:
    faces = pd.read_parquet(finished / "data/people/faces.parquet")
    faces["side"] = np.sqrt((faces.x1 - faces.x0) * (faces.y1 - faces.y0))
    key, told = ["media_id", "frame_idx", "face_idx"], ["found", "track_id", "prob", "side", "sharpness"]
    for path in (*finished.glob("runs/people/fold*/oof.parquet"), finished / "submissions/people/logits.parquet"):
        rows = pd.read_parquet(path)
        if "run" in rows:
            rows = rows[rows.run != ""].reset_index(drop=True)
        expected = rows[key].merge(faces, on=key, how="left", validate="many_to_one")
        pd.testing.assert_frame_equal(rows[told], expected[told])


def test_a_submission_is_the_mean_of_the_logits_behind_it(finished: Path) -> None:
    logits = pd.read_parquet(finished / "submissions/people/logits.parquet")
    submission = pd.read_csv(finished / "submissions/people/submission.csv").set_index("filename").label
    assert set(logits.fold) == {"0", "1"}
    seen = logits[logits.found].groupby("media_id").logit.mean()
    for media_id, logit in seen.items():
        assert submission[Path(media_id).name] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)


def test_test_labels_feed_nothing_but_the_printed_score(finished: Path, demo_root: Path, tmp_path: Path) -> None:
    blind = tmp_path / "people"
    shutil.copytree(demo_root, blind)
    (blind / "test_labels.csv").unlink()
    said = run(tmp_path, *CHAIN, f"data.root={blind}", *TINY)
    assert "medium level" in said and "infer    test," not in said
    name = "submissions/people/submission.csv"
    assert (tmp_path / name).read_bytes() == (finished / name).read_bytes()


def test_a_second_call_does_nothing(copy: Path, demo_root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*.safetensors")}
    said = run(copy, *CHAIN, f"data.root={demo_root}", *TINY)
    assert said.count("up to date") == len(CHAIN) + 1  # train says so for each of two folds
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*.safetensors")} == before


def test_killed_extraction_goes_on_and_ends_with_the_same_table(
    finished: Path, demo_root: Path, tmp_path: Path
) -> None:
    command = ("index", "extract", f"data.root={demo_root}", *TINY)
    journal = tmp_path / "data/people/extract_journal.jsonl"
    kill_when(tmp_path, lambda: count_lines(journal) > 10, *command)
    kept = journal.read_bytes().splitlines()
    with journal.open("ab") as torn:
        torn.write(b'{"media_id": "media/tr')
    said = run(tmp_path, *command)
    assert "going on: " in said
    assert journal.read_bytes().splitlines()[: len(kept)] == kept  # no finished medium was cut again
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "data/people/faces.parquet"), pd.read_parquet(finished / "data/people/faces.parquet")
    )


def test_unreadable_and_faceless_media_are_listed_and_get_the_fallback(copy: Path, demo_root: Path) -> None:
    from PIL import Image

    broken = copy / "broken"
    broken.mkdir()
    (broken / "text.mp4").write_text("not a video")
    (broken / "empty.png").write_bytes(b"")
    Image.fromarray(np.full((120, 160, 3), 127, np.uint8)).save(broken / "grey.png")
    clip = next((demo_root / "media/test").glob("*.mp4"))
    shutil.copy(clip, broken / "clip.mp4")
    said = run(copy, "index", "extract", "infer", "name=people", f"data.root={broken}", "data.layout=unlabelled")
    folder = copy / "submissions/people_broken"
    problems = pd.read_csv(folder / "infer_problems.csv").set_index("media_id")
    assert problems.error.to_dict() == {"empty.png": "empty", "grey.png": "no_face", "text.mp4": "corrupt"}
    assert "1 of 4 (25.0 %) test media got the stated logit" in said and "no_face: grey.png" in said
    assert "2 of 4 (50.0 %) test media got the stated logit" in said and "unreadable: empty.png, text.mp4" in said
    labels = pd.read_csv(folder / "submission.csv").set_index("filename").label
    stated = json.loads((folder / "config.json").read_text())["fallbacks"]
    reasons = {"empty.png": "unreadable", "grey.png": "no_face", "text.mp4": "unreadable"}
    for name, reason in reasons.items():
        assert labels[name] == pytest.approx(1 / (1 + np.exp(-stated[reason]["logit"])))
    assert len(labels) == 4 and labels["clip.mp4"] != labels["grey.png"]
    logits = pd.read_parquet(folder / "logits.parquet")
    assert logits[logits.run == ""].set_index("media_id").fallback.to_dict() == reasons


def test_media_that_join_later_are_all_that_is_cut(copy: Path, demo_root: Path) -> None:
    grown = copy / "grown" / "people"
    shutil.copytree(demo_root, grown)
    run(copy, "index", "extract", "data.name=grown", f"data.root={grown}", *TINY)
    clip = next((grown / "media/test").glob("*.mp4"))
    shutil.copy(clip, clip.with_name("another.mp4"))
    with open(grown / "listing.csv", "a") as listing:
        listing.write("media/test/another.mp4,,,,,test\n")
    said = run(copy, "index", "extract", "data.name=grown", f"data.root={grown}", *TINY)
    count = len(pd.read_csv(demo_root / "listing.csv"))
    assert f"going on: {count} of {count + 1}" in said


def test_inference_alone_cuts_the_test_split_alone(copy: Path, demo_root: Path) -> None:
    shutil.rmtree(copy / "data/people")
    said = run(copy, "index", "extract", "infer", f"data.root={demo_root}")
    count = (pd.read_csv(demo_root / "listing.csv").split == "test").sum()
    assert f"{count} of {count} (100.0 %) media decoded" in said
    run(copy, "extract", f"data.root={demo_root}", *TINY)
    assert "up to date" in run(copy, "extract", f"data.root={demo_root}", *TINY, "extract.split=test")


def test_a_finished_fold_that_has_lost_its_logits_is_finished_again(copy: Path, demo_root: Path) -> None:
    path = copy / "runs/people/fold0/oof.parquet"
    before = path.read_bytes()
    path.unlink()
    run(copy, "train", "fold=0", f"data.root={demo_root}", *TINY)
    assert path.read_bytes() == before


def test_a_damaged_journal_line_costs_its_medium_alone(copy: Path, demo_root: Path) -> None:
    journal = copy / "data/people/extract_journal.jsonl"
    lines = journal.read_text().splitlines()
    lines[3] = lines[3][:40]
    journal.write_text("\n".join(lines) + "\n")
    faces = copy / "data/people/faces.parquet"
    before = faces.read_bytes()
    faces.unlink()
    count = len(lines) - 1
    assert f"going on: {count - 1} of {count}" in run(copy, "extract", f"data.root={demo_root}", *TINY)
    assert faces.read_bytes() == before


def test_a_folder_of_any_name_is_trained_and_scored(demo_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "my data (v1) é"
    shutil.copytree(demo_root, root)
    said = run(tmp_path, *CHAIN[:-1], f"data.root={root}/", *TINY, "fold=0", "train.epochs=1")
    assert "next: ./run_infer.sh name=my_data_v1_é" in said
    run(tmp_path, "index", "extract", "infer", f"data.root={root}")
    assert (tmp_path / "submissions/my_data_v1_é/submission.csv").is_file()


def test_a_file_that_is_replaced_by_another_of_its_size_is_cut_again(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "test").mkdir()
    for grey in (0, 255):
        Image.fromarray(np.full((40, 40, 3), grey, np.uint8)).save(tmp_path / "test/a.bmp")
        run(tmp_path, "extract", "index", "crop.mode=whole", "data.root=test")  # stages in any order
        with Image.open(tmp_path / "data/test/crops/a.bmp/000000_0.png") as crop:
            assert crop.getpixel((5, 5)) == (grey,) * 3


def test_whole_pictures_need_no_faces(demo_root: Path, tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(8):
        for label, low in (("real", 0), ("fake", 100)):
            path = tmp_path / "pictures" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(low, 256, (60, 90, 3), dtype=np.uint8)).save(path)
    settings = [*TINY, "crop.mode=whole", "crop.size=0", "fold=full"]
    run(tmp_path, "index", "folds", "extract", "train", "data.root=pictures", *settings)
    faces = pd.read_parquet(tmp_path / "data/pictures/faces.parquet")
    assert len(faces) == 16 and faces.found.all()
    assert faces[["x0", "y0", "x1", "y1"]].drop_duplicates().to_numpy().tolist() == [[0, 0, 90, 60]]
    with Image.open(tmp_path / "data/pictures" / faces.path[0]) as crop:
        assert crop.size == (90, 60)
    assert (tmp_path / "runs/pictures/full/best.safetensors").is_file()


def test_the_scripts_run_a_given_interpreter_from_any_folder(finished: Path, demo_root: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    settings = environment() | {"DEEPFAKE_PYTHON": sys.executable}
    del settings["PYTHONPATH"]
    for script, arguments in (("run_train.sh", ["fold=0", *TINY]), ("run_infer.sh", [])):
        done = subprocess.run(
            [REPOSITORY / script, f"data.root={demo_root}", *arguments],
            cwd=tmp_path, env=settings, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "up to date" in done.stderr
    wrong = subprocess.run(
        [REPOSITORY / "run_all.sh"], env=settings | {"DEEPFAKE_PYTHON": "/no/python"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert wrong.returncode == 2 and "/no/python" in wrong.stderr
