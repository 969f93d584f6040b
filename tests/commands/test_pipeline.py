"""The whole way, through `python -m deepfake`, on rendered people."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pipeline import REPOSITORY, STALLS, TINY, Done, run_cold, start, wait_until

Command = Callable[..., Done]
CHAIN = ("index", "folds", "extract", "train", "infer")


def test_every_expected_row_is_submitted_with_a_probability(trained: Path, demo_root: Path) -> None:
    sample = pd.read_csv(demo_root / "sample_submission.csv")
    submission = pd.read_csv(trained / "submissions/people/submission.csv")
    assert list(submission.columns) == list(sample.columns)
    assert list(submission.filename) == list(sample.filename)
    assert submission.label.between(0, 1).all()


def test_every_medium_has_crops_or_a_problem_and_crops_are_on_disk(trained: Path) -> None:
    data = trained / "data/people"
    media, faces = pd.read_parquet(data / "media.parquet"), pd.read_parquet(data / "faces.parquet")
    problems = pd.read_csv(data / "extract_problems.csv")
    assert set(faces.media_id) | set(problems.media_id) == set(media.media_id)
    assert faces.found.mean() > 0.9
    assert all((data / path).is_file() for path in faces.path)
    assert (faces.x1 > faces.x0).all() and (faces.y1 > faces.y0).all()
    assert np.isfinite(faces.sharpness).all() and (faces.sharpness > 0).all()


def test_every_labelled_medium_is_out_of_fold_once(trained: Path) -> None:
    folds = pd.read_csv(trained / "folds/people.csv")
    oof = pd.concat(pd.read_parquet(path) for path in sorted(trained.glob("runs/people/fold*/oof.parquet")))
    assert set(oof.media_id) == set(folds.media_id)
    assert not oof.duplicated(["media_id", "frame_idx", "face_idx", "view"]).any()
    assert set(oof["view"]) == {"identity", "hflip"}


def test_logits_tell_whose_face_spoke_how_large_and_how_sharp_it_is(trained: Path) -> None:
    faces = pd.read_parquet(trained / "data/people/faces.parquet")
    faces["side"] = np.sqrt((faces.x1 - faces.x0) * (faces.y1 - faces.y0))
    key, told = ["media_id", "frame_idx", "face_idx"], ["found", "track_id", "prob", "side", "sharpness"]
    for path in (*trained.glob("runs/people/fold*/oof.parquet"), trained / "submissions/people/logits.parquet"):
        rows = pd.read_parquet(path)
        if "run" in rows:
            rows = rows[rows.run != ""].reset_index(drop=True)
        expected = rows[key].merge(faces, on=key, how="left", validate="many_to_one")
        pd.testing.assert_frame_equal(rows[told], expected[told])


def test_a_submission_is_the_mean_of_the_logits_behind_it(trained: Path) -> None:
    logits = pd.read_parquet(trained / "submissions/people/logits.parquet")
    submission = pd.read_csv(trained / "submissions/people/submission.csv").set_index("filename").label
    assert set(logits.fold) == {"0", "1"}
    seen = logits[logits.found].groupby("media_id").logit.mean()
    for media_id, logit in seen.items():
        assert submission[Path(media_id).name] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)


def test_test_labels_feed_nothing_but_the_printed_score(
    deepfake: Command, trained: Path, demo_root: Path, tmp_path: Path
) -> None:
    blind = tmp_path / "people"
    shutil.copytree(demo_root, blind)
    (blind / "test_labels.csv").unlink()
    said = deepfake(*CHAIN, f"data.root={blind}", *TINY).said
    assert "medium level" in said and "infer    test," not in said
    name = "submissions/people/submission.csv"
    assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()


def test_a_second_call_does_nothing(deepfake: Command, here: Path, demo_root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*.safetensors")}
    said = deepfake(*CHAIN, f"data.root={demo_root}", *TINY).said
    assert said.count("up to date") == len(CHAIN) + 1  # train says so for each of two folds
    assert {path: path.stat().st_mtime_ns for path in here.rglob("*.safetensors")} == before


def test_killed_extraction_goes_on_and_ends_with_the_same_table(
    deepfake: Command, trained: Path, demo_root: Path, tmp_path: Path
) -> None:
    command = ("index", "extract", f"data.root={demo_root}", *TINY)
    journal = tmp_path / "data/people/extract_journal.jsonl"
    killed = start(tmp_path, *command, prelude=STALLS, MEDIA_BEFORE_STALL="15")
    wait_until(lambda: journal.is_file() and journal.read_bytes().count(b"\n") > 10)
    killed.kill()
    assert killed.process.status == -signal.SIGKILL
    kept = journal.read_bytes().splitlines()
    with journal.open("ab") as torn:
        torn.write(b'{"media_id": "media/tr')
    said = deepfake(*command).said
    assert "going on: " in said
    assert journal.read_bytes().splitlines()[: len(kept)] == kept  # no finished medium was cut again
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "data/people/faces.parquet"), pd.read_parquet(trained / "data/people/faces.parquet")
    )


def test_unreadable_and_faceless_media_are_listed_and_get_the_fallback(
    deepfake: Command, here: Path, demo_root: Path
) -> None:
    from PIL import Image

    broken = here / "broken"
    broken.mkdir()
    (broken / "text.mp4").write_text("not a video")
    (broken / "empty.png").write_bytes(b"")
    Image.fromarray(np.full((120, 160, 3), 127, np.uint8)).save(broken / "grey.png")
    clip = next((demo_root / "media/test").glob("*.mp4"))
    shutil.copy(clip, broken / "clip.mp4")
    said = deepfake("index", "extract", "infer", "name=people", f"data.root={broken}", "data.layout=unlabelled").said
    folder = here / "submissions/people_broken"
    problems = pd.read_csv(folder / "infer_problems.csv").set_index("media_id")
    assert problems.error.to_dict() == {"empty.png": "empty", "grey.png": "no_face", "text.mp4": "corrupt"}
    assert "1 of 4 (25.0 %) test media got the fallback logit" in said and "no_face: grey.png" in said
    assert "2 of 4 (50.0 %) test media got the fallback logit" in said and "unreadable: empty.png, text.mp4" in said
    labels = pd.read_csv(folder / "submission.csv").set_index("filename").label
    stated = json.loads((folder / "config.json").read_text())["fallbacks"]
    reasons = {"empty.png": "unreadable", "grey.png": "no_face", "text.mp4": "unreadable"}
    for name, reason in reasons.items():
        assert labels[name] == pytest.approx(1 / (1 + np.exp(-stated[reason]["logit"])))
    assert len(labels) == 4 and labels["clip.mp4"] != labels["grey.png"]
    logits = pd.read_parquet(folder / "logits.parquet")
    assert logits[logits.run == ""].set_index("media_id").fallback.to_dict() == reasons


def test_media_that_join_later_are_all_that_is_cut(deepfake: Command, here: Path, demo_root: Path) -> None:
    grown = here / "grown" / "people"
    shutil.copytree(demo_root, grown)
    assert deepfake("index", "extract", "data.name=grown", f"data.root={grown}", *TINY).status == 0
    clip = next((grown / "media/test").glob("*.mp4"))
    shutil.copy(clip, clip.with_name("another.mp4"))
    with open(grown / "listing.csv", "a") as listing:
        listing.write("media/test/another.mp4,,,,,test\n")
    said = deepfake("index", "extract", "data.name=grown", f"data.root={grown}", *TINY).said
    count = len(pd.read_csv(demo_root / "listing.csv"))
    assert f"going on: {count} of {count + 1}" in said


def test_inference_alone_cuts_the_test_split_alone(deepfake: Command, here: Path, demo_root: Path) -> None:
    shutil.rmtree(here / "data/people")
    said = deepfake("index", "extract", "infer", f"data.root={demo_root}").said
    count = (pd.read_csv(demo_root / "listing.csv").split == "test").sum()
    assert f"{count} of {count} (100.0 %) media decoded" in said
    assert deepfake("extract", f"data.root={demo_root}", *TINY).status == 0
    assert "up to date" in deepfake("extract", f"data.root={demo_root}", *TINY, "extract.split=test").said


def test_a_finished_fold_that_has_lost_its_logits_is_finished_again(
    deepfake: Command, here: Path, demo_root: Path
) -> None:
    path = here / "runs/people/fold0/oof.parquet"
    before = path.read_bytes()
    path.unlink()
    assert deepfake("train", "fold=0", f"data.root={demo_root}", *TINY).status == 0
    assert path.read_bytes() == before


def test_a_damaged_journal_line_costs_its_medium_alone(deepfake: Command, here: Path, demo_root: Path) -> None:
    journal = here / "data/people/extract_journal.jsonl"
    lines = journal.read_text().splitlines()
    lines[3] = lines[3][:40]
    journal.write_text("\n".join(lines) + "\n")
    faces = here / "data/people/faces.parquet"
    before = faces.read_bytes()
    faces.unlink()
    count = len(lines) - 1
    assert f"going on: {count - 1} of {count}" in deepfake("extract", f"data.root={demo_root}", *TINY).said
    assert faces.read_bytes() == before


def test_a_folder_of_any_name_is_trained_and_scored(deepfake: Command, demo_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "my data (v1) é"
    shutil.copytree(demo_root, root)
    said = deepfake(*CHAIN[:-1], f"data.root={root}/", *TINY, "fold=0", "train.epochs=1").said
    assert "next: ./run_infer.sh name=my_data_v1_é" in said
    assert deepfake("index", "extract", "infer", f"data.root={root}").status == 0
    assert (tmp_path / "submissions/my_data_v1_é/submission.csv").is_file()


def test_a_file_that_is_replaced_by_another_of_its_size_is_cut_again(deepfake: Command, tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "test").mkdir()
    for grey in (0, 255):
        Image.fromarray(np.full((40, 40, 3), grey, np.uint8)).save(tmp_path / "test/a.bmp")
        assert deepfake("extract", "index", "crop.mode=whole", "data.root=test").status == 0  # stages in any order
        with Image.open(tmp_path / "data/test/crops/a.bmp/000000_0.png") as crop:
            assert crop.getpixel((5, 5)) == (grey,) * 3


def test_whole_pictures_need_no_faces(deepfake: Command, tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(8):
        for label, low in (("real", 0), ("fake", 100)):
            path = tmp_path / "pictures" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(low, 256, (60, 90, 3), dtype=np.uint8)).save(path)
    settings = [*TINY, "crop.mode=whole", "crop.size=0", "fold=full"]
    assert deepfake("index", "folds", "extract", "train", "data.root=pictures", *settings).status == 0
    faces = pd.read_parquet(tmp_path / "data/pictures/faces.parquet")
    assert len(faces) == 16 and faces.found.all()
    assert faces[["x0", "y0", "x1", "y1"]].drop_duplicates().to_numpy().tolist() == [[0, 0, 90, 60]]
    with Image.open(tmp_path / "data/pictures" / faces.path[0]) as crop:
        assert crop.size == (90, 60)
    assert (tmp_path / "runs/pictures/full/best.safetensors").is_file()


def test_the_scripts_run_a_given_interpreter_from_any_folder(here: Path, demo_root: Path) -> None:
    given = {"DEEPFAKE_PYTHON": sys.executable, "PYTHONPATH": ""}
    for script, arguments in (("run_train.sh", ["fold=0", *TINY]), ("run_infer.sh", [])):
        done = run_cold([REPOSITORY / script, f"data.root={demo_root}", *arguments], here, **given)
        assert done.status == 0 and "up to date" in done.output, done.output
    wrong = run_cold([REPOSITORY / "run_all.sh"], here, DEEPFAKE_PYTHON="/no/python")
    assert wrong.status == 2 and "/no/python" in wrong.output
