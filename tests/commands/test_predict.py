"""Files that somebody names are predicted, without labels, an index or a data set."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from pipeline import Done, start, wait_until

Command = Callable[..., Done]


@pytest.fixture
def files(demo_root: Path, tmp_path: Path) -> Path:
    """A folder: a clip, a picture, one without a face, one that is broken, and a note."""
    folder = tmp_path / "files"
    (folder / "deep").mkdir(parents=True)
    shutil.copy(next(demo_root.rglob("test/*.mp4")), folder / "clip.mp4")
    still = next(path for path in demo_root.rglob("test/*") if path.suffix in (".png", ".jpg"))
    shutil.copy(still, folder / f"deep/still{still.suffix}")
    cv2.imwrite(str(folder / "plain.png"), np.full((120, 160, 3), 90, np.uint8))
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "notes.txt").write_text("not a medium")
    return folder


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go: not below tmp_path, whose length a socket's name does not bear."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def line_of(done: Done, name: str) -> list[str]:
    """The cells of a file's line in the table."""
    (line,) = [line for line in done.output.splitlines() if line.split()[:1] == [name]]
    return line.split()


def test_a_clip_is_judged_and_nothing_is_left(
    deepfake: Command, trained: Path, files: Path, temporary: Path, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = deepfake("index", "extract", "infer", "files/clip.mp4", f"paths.runs={trained / 'runs'}")
    assert done.status == 0, done.output
    _, prob, lowest, highest, verdict, people, faces, frames = line_of(done, "files/clip.mp4")
    assert 0 < float(lowest) <= float(prob) <= float(highest) < 1
    assert verdict == ("fake" if float(prob) >= 0.5 else "real")
    assert int(people) >= 1 and int(faces) >= int(frames) and frames == "2"
    assert "lowest and highest of what the models of the 2 folds say alone" in done.output
    assert "1 file: 1 " in done.output and "people fold 0, people fold 1" in done.output
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_is_judged_as_infer_submits_it(
    deepfake: Command, trained: Path, demo_root: Path, tmp_path: Path
) -> None:
    media = pd.read_parquet(trained / "data/people/media.parquet").set_index("media_id")
    scores = pd.read_csv(trained / "submissions/people/scores.csv").set_index("media_id")
    paths = [str(demo_root / media.path[media_id]) for media_id in scores.index]
    done = deepfake("infer", *paths, f"paths.runs={trained / 'runs'}", "json=out.json", "infer.batch_size=7")
    assert done.status == 0, done.output
    judged = json.loads((tmp_path / "out.json").read_text())
    assert [file["file"] for file in judged["files"]] == paths and judged["run"] == "people"
    submitted = 1 / (1 + np.exp(-scores.logit.to_numpy()))
    assert [file["probability"] for file in judged["files"]] == pytest.approx(submitted, abs=1e-6)
    assert [file["faces"] for file in judged["files"]] == scores.crops.tolist()


def test_what_cannot_be_judged_is_named(
    deepfake: Command, trained: Path, files: Path, temporary: Path, tmp_path: Path
) -> None:
    out = ("json=out/all.json", "pictures=out/pictures")
    done = deepfake("index", "extract", "infer", "input=files", "name=people", f"paths.runs={trained / 'runs'}", *out)
    assert done.status == 0, done.output
    assert line_of(done, "files/broken.mp4")[1:8] == ["-", "-", "-", "-", "-", "-", "-"]
    assert line_of(done, "files/plain.png")[2:8] == ["-", "-", "-", "0", "0", "0"]
    assert "corrupt: " in done.output and "no face found: P(fake) is the share of fakes in training" in done.output
    assert "1 without a face, 1 unreadable" in done.output
    assert "no media, left out (1): files/notes.txt" in done.output
    judged = json.loads((tmp_path / "out/all.json").read_text())
    by_name = {Path(file["file"]).name: file for file in judged["files"]}
    assert judged["no_media"] == ["files/notes.txt"] and len(by_name) == 4
    assert by_name["broken.mp4"]["error"] == "corrupt" and by_name["broken.mp4"]["probability"] is None
    assert by_name["plain.png"]["verdict"] is None and 0 < by_name["plain.png"]["probability"] < 1
    clip = by_name["clip.mp4"]
    assert {score["frame"] for score in clip["scores"]} and clip["scores"][-1]["time_s"] > clip["scores"][0]["time_s"]
    for score in clip["scores"]:
        x0, y0, x1, y1 = score["box"]
        assert x0 < x1 <= clip["width"] + 50 and y0 < y1 and 0 < score["probability"] < 1 and score["track"] >= 0
    mean = np.mean([np.log(score["probability"] / (1 - score["probability"])) for score in clip["scores"]])
    assert mean == pytest.approx(clip["logit"], abs=1e-5)
    names = sorted(path.name for path in (tmp_path / "out/pictures").iterdir())
    assert len(names) == 3 and names[:2] == ["clip.mp4.png", "plain.png.png"] and names[2].startswith("still.")
    clip_HWC, plain_HWC = (cv2.imread(str(tmp_path / "out/pictures" / name)) for name in names[:2])
    assert min(plain_HWC.shape[:2]) > 120 and clip_HWC.shape[0] > clip["height"] and clip_HWC.shape[1] >= 960
    assert not list(temporary.glob("deepfake_*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["infer", "no.mp4"], "no.mp4: there is no such file or folder"),
        (["infer", "input=files/*.avi"], "files/*.avi: nothing matches it"),
        (["infer", "files/*.txt"], "no video and no image, but files/notes.txt"),
        (["infer", "files", "name=other"], "runs with trained folds: people"),
        (["infer", "files", "crop.size=32"], "was trained with 64"),
        (["infer", "files/plain.png", "json=files/plain.png"], "would be replaced"),
        (["infer", "files", "json=files"], "json=files is a folder"),
        (["infer", "files", "pictures=files/notes.txt"], "pictures=files/notes.txt is a file"),
        (["predict"], "predict needs files"),
        (["ledger", "infer", "files"], "'files' is a file, which only infer, predict, check take"),
        (["train", "infer", "files"], "'files' is a file, which only infer, predict, check take"),
    ],
)
def test_what_is_typed_wrong_is_answered(
    deepfake: Command, trained: Path, files: Path, arguments: list[str], words: str
) -> None:
    before = sorted(files.rglob("*"))
    done = deepfake(*arguments, f"paths.runs={trained / 'runs'}")
    assert done.status == 2 and words in done.output and "Traceback" not in done.output, done.output
    assert sorted(files.rglob("*")) == before


def test_the_run_has_to_be_clear(deepfake: Command, trained: Path, files: Path, tmp_path: Path) -> None:
    done = deepfake("infer", "files")
    assert done.status == 2 and "no run has a trained fold yet" in done.output
    for name in ("one", "two"):
        shutil.copytree(trained / "runs/people", tmp_path / "runs" / name)
    done = deepfake("infer", "files")
    assert done.status == 2 and "2 runs could predict: choose one of one, two by name=" in done.output
    shutil.copy(files / "plain.png", tmp_path / "train.png")  # a word that begins like a key
    done = deepfake("infer", "files/*.png", "train.png", "name=two", "fold=1")
    assert "2 files: 2 without a face" in done.output
    assert done.status == 0 and "by two fold 1" in done.output and "highest" not in done.output


# A prelude: a process that crops media comes to no end once the first one's crops are there.
LINGERS = """
import sys, time
if any("multiprocessing" in word for word in sys.orig_argv):
    from deepfake.media import workers

    def crop_medium(*arguments, crop=workers.crop_medium, **settings):
        crop(*arguments, **settings)
        time.sleep(600)

    workers.crop_medium = crop_medium
"""


def test_an_interrupt_leaves_no_crops(trained: Path, files: Path, temporary: Path) -> None:
    arguments = ("infer", "files", f"paths.runs={trained / 'runs'}", "num_workers=1")
    command = start(files.parent, *arguments, prelude=LINGERS, TMPDIR=str(temporary))
    wait_until(lambda: any(temporary.glob("deepfake_*/**/*.png")))
    command.interrupt()
    done = command.ended(timeout_s=60)
    assert done.status == 130 and "interrupted" in done.output, done.output
    assert not list(temporary.glob("deepfake_*"))
