"""A user's mistake: one clear line, exit status 2, nothing half-written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pipeline import TINY, Done, built, run_in

Command = Callable[..., Done]


def refused(done: Done, *words: str) -> None:
    """It ended with status 2 and one line that says all the words."""
    assert done.status == 2, done.output
    errors = [line for line in done.output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in done.output, done.output
    for word in words:
        assert word in errors[0]


WHOLE = (*TINY, "crop.mode=whole", "data.root=pictures")


def draw_pictures(root: Path) -> None:
    """Eight grey pictures of each class, with a test picture."""
    from PIL import Image

    for number in range(17):
        part = "test" if number == 16 else f"train/{'real' if number % 2 else 'fake'}"
        path = root / part / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((40, 40, 3), number, np.uint8)).save(path)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """The folder of those pictures, in tmp_path."""
    draw_pictures(tmp_path / "pictures")
    return tmp_path / "pictures"


@pytest.fixture(scope="session")
def trained_on_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which fold 0 of the run `pictures` is trained on them."""

    def train(folder: Path) -> None:
        draw_pictures(folder / "pictures")
        run_in(folder, "index", "folds", "extract", "train", "fold=0", *WHOLE)

    return built(tmp_path_factory, "pictures", train)


@pytest.fixture
def trained(trained_on_pictures: Path, tmp_path: Path) -> Path:
    """A copy of it, to spoil; it is where the `deepfake` fixture runs."""
    return shutil.copytree(trained_on_pictures, tmp_path, dirs_exist_ok=True)


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("optim.lrr=1", ["optim.lrr", "Did you mean 'optim.lr'"]),
        ("lr=1", ["'lr'", "optim.lr"]),
        ("optim.lr=fast", ["optim.lr=fast", "float"]),
        ("train.epochs=0", ["train.epochs=0", "1 or more"]),
        ("train.epochs=1.5", ["train.epochs=1.5", "int"]),
        ("crop.mode=hole", ["crop.mode=hole", "faces|whole"]),
        ("data.layout=dfcd", ["data.layout=dfcd", "dfdc"]),
        ("preset=dmeo", ["preset=dmeo", "'demo'"]),
        ("fold=first", ["fold=first", "a number from 0, all, or full"]),
        ("data.root=nowhere", ["nowhere", "does not exist"]),
        ("data.root=", ["data.root=", "names no folder"]),
        ("fold", ["'fold'", "key=value"]),
        ("--fold", ["--fold", "key=value"]),
        ("trian", ["trian", "'train'"]),
    ],
)
def test_a_wrong_word_is_answered_before_anything_is_written(
    deepfake: Command, tmp_path: Path, argument: str, words: list[str]
) -> None:
    refused(deepfake("index", "folds", "extract", "train", argument), *words)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_root(deepfake: Command, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    refused(deepfake("index", "data.root=raw"), "raw", "no video and no image")


def test_a_folder_of_no_known_layout_is_answered_with_all_layouts(deepfake: Command, pictures: Path) -> None:
    shutil.move(pictures / "train", pictures / "things")
    shutil.move(pictures / "things/real", pictures / "things/a")
    shutil.move(pictures / "things/fake", pictures / "things/b")
    done = deepfake("index", "data.root=pictures")
    assert done.status == 2
    for layout in ("dfdc", "ffdi", "faceforensics", "celebdf", "generators", "folders", "listing"):
        assert f"  {layout}: " in done.output


def test_labels_without_files(deepfake: Command, pictures: Path, tmp_path: Path) -> None:
    rows = [f"train/fake/{number}.png,1\n" for number in range(0, 40, 2)]
    (pictures / "listing.csv").write_text("path,label\n" + "".join(rows))
    refused(deepfake("index", "data.root=pictures"), "12 of 20", "label_without_file", "data.max_contradictions=0.01")
    assert not (tmp_path / "data/pictures/media.parquet").exists()
    done = deepfake("index", "data.root=pictures", "data.max_contradictions=0.6")
    assert done.status == 0 and "12 of 20" in done.output


@pytest.mark.parametrize(
    ("prepare", "arguments", "words"),
    [
        (lambda root: shutil.rmtree(root / "train/real"), [], ["8 labelled", "are fake"]),
        (lambda root: None, ["folds.num_folds=17"], ["folds.num_folds=17", "16 groups"]),
        (lambda root: None, ["fold=2"], ["fold=2", "0, 1, all, full"]),
        (lambda root: None, ["model.name=test_resnets"], ["model.name=test_resnets", "'test_resnet'"]),
        (lambda root: None, ["model.kwargs.wings=2"], ["model.kwargs", "wings"]),
        (lambda root: None, ["model.pretrained=true"], ["timm's hub", "model.weights=FILE"]),
        (lambda root: None, ["model.weights=none.pth"], ["none.pth", "does not exist"]),
    ],
)
def test_what_training_cannot_do_is_said_before_extraction(
    deepfake: Command, pictures: Path, prepare: Callable, arguments: list[str], words: list[str]
) -> None:
    prepare(pictures)
    refused(deepfake("index", "folds", "extract", "train", *WHOLE, *arguments), *words)
    assert not (pictures.parent / "data/pictures/faces.parquet").exists()
    assert not (pictures.parent / "runs").exists()


def test_a_weight_file_of_another_model(deepfake: Command, pictures: Path, tmp_path: Path) -> None:
    import safetensors.torch
    import timm

    safetensors.torch.save_file(timm.create_model("test_vit").state_dict(), tmp_path / "vit.safetensors")
    done = deepfake("index", "folds", "extract", "train", *WHOLE, "model.weights=vit.safetensors")
    refused(done, "vit.safetensors", "test_resnet", "missing", "unknown")


def test_a_pickle_is_not_loaded(deepfake: Command, pictures: Path, tmp_path: Path) -> None:
    import torch

    torch.save({"model": Path("x")}, tmp_path / "pickle.pth")
    done = deepfake("index", "folds", "extract", "train", *WHOLE, "model.weights=pickle.pth")
    refused(done, "pickle.pth", "weights-only")


def test_crops_of_other_settings_are_neither_used_nor_replaced(
    deepfake: Command, pictures: Path, tmp_path: Path
) -> None:
    assert deepfake("index", "folds", "extract", *WHOLE).status == 0
    before = (tmp_path / "data/pictures/faces.parquet").read_bytes()
    words = ("crop.size: 64 → 32", "data.name=OTHER")
    refused(deepfake("train", *WHOLE, "crop.size=32"), *words)
    refused(deepfake("index", "folds", "extract", "train", *WHOLE, "crop.size=32"), *words)
    assert (tmp_path / "data/pictures/faces.parquet").read_bytes() == before
    assert deepfake("extract", *WHOLE, "crop.size=32").status == 0  # asked for by itself, it replaces them


def test_a_run_is_not_overwritten_and_not_scored_with_other_settings(
    deepfake: Command, trained: Path, trained_on_pictures: Path
) -> None:
    root = f"data.root={trained_on_pictures / 'pictures'}"
    train = ("index", "folds", "extract", "train", "fold=0", *WHOLE, root)
    assert deepfake(*train).said.count("up to date") == 4
    refused(deepfake(*train, "optim.lr=0.5"), "optim.lr: 0.0003 → 0.5", "name=")
    refused(deepfake("infer", root, "crop.size=32"), "crop.size=32", "trained with 64")
    refused(deepfake("infer", root, "fold=1"), "fold=1", "trained: 0")
    refused(deepfake("infer", "name=other"), "runs/other holds no trained fold", "pictures")


def test_a_sample_submission_with_rows_that_have_no_medium(deepfake: Command, pictures: Path, tmp_path: Path) -> None:
    (pictures / "sample_submission.csv").write_text("id,score\n16.png,0.5\n99.png,0.5\n")
    done = deepfake("index", "folds", "extract", "train", "infer", *WHOLE)
    refused(done, "sample_submission.csv", "1 of 2", "99.png")
    assert not (tmp_path / "submissions").exists()


def test_a_name_that_belongs_to_other_media(deepfake: Command, pictures: Path) -> None:
    assert deepfake("index", "data.root=pictures").status == 0
    shutil.copytree(pictures, pictures.parent / "more/pictures")
    (pictures.parent / "more/pictures/test/16.png").unlink()
    refused(deepfake("index", "data.root=more/pictures"), "data.name=")


def test_folds_of_ones_own_are_checked(deepfake: Command, pictures: Path, tmp_path: Path) -> None:
    assert deepfake("index", "folds", "data.root=pictures").status == 0
    folds = tmp_path / "folds/pictures.csv"
    (tmp_path / "folds/pictures.csv.json").unlink()
    folds.write_text("\n".join(folds.read_text().splitlines()[:-1]) + "\n")
    refused(deepfake("folds", "data.root=pictures"), "folds/pictures.csv", "differ in 1")


def test_a_folder_of_checkpoints_without_folds(deepfake: Command, tmp_path: Path) -> None:
    fold = tmp_path / "runs/demo/fold0"
    fold.mkdir(parents=True)
    (fold / "config.json").write_text(json.dumps({}))
    refused(deepfake("infer"), "runs/demo holds no trained fold", "./run_train.sh")


@pytest.mark.parametrize("arguments", [["data.root=data/pictures"], ["data.root=."]])
def test_a_raw_folder_in_which_derived_data_would_lie(
    deepfake: Command, pictures: Path, tmp_path: Path, arguments: list[str]
) -> None:
    shutil.copytree(pictures, tmp_path / "data/pictures")
    before = sorted(tmp_path.rglob("*"))
    refused(deepfake("index", *arguments), arguments[0], "paths.data=")
    assert sorted(tmp_path.rglob("*")) == before


def test_media_that_extraction_has_not_seen_are_cut_and_scored(deepfake: Command, pictures: Path) -> None:
    assert deepfake("index", "folds", "extract", "train", "fold=0", *WHOLE).status == 0
    shutil.copy(pictures / "test/16.png", pictures / "test/17.png")
    assert deepfake("index", *WHOLE).status == 0
    done = deepfake("infer", "data.root=pictures")
    assert done.status == 0, done.output
    scores = pd.read_csv("submissions/pictures/scores.csv").set_index("media_id")
    assert scores.crops["test/17.png"] == 1 and scores.fallback.isna().all()


def test_folds_of_one_run_come_of_one_training(deepfake: Command, trained: Path) -> None:
    refused(
        deepfake("index", "folds", "extract", "train", *WHOLE, "fold=1", "seed=5"), "runs/pictures/fold0", "seed: 0 → 5"
    )


def test_half_precision_needs_a_gpu_to_train_and_off_is_a_word(deepfake: Command, pictures: Path) -> None:
    chain = ("index", "folds", "extract", "train", "fold=0", *WHOLE)
    refused(deepfake(*chain, "train.amp=fp16"), "train.amp=fp16", "CUDA")
    assert deepfake(*chain, "train.amp=off").status == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("runs/pictures/fold0/config.json", ["config.json is damaged", "train it again"]),
        ("runs/pictures/fold0/best.json", ["best.json is missing or damaged"]),
        ("data/pictures/faces.parquet", ["faces.parquet", "remove it and run its command again"]),
    ],
)
def test_a_damaged_file_is_named_with_what_to_do(deepfake: Command, trained: Path, name: str, words: list[str]) -> None:
    (trained / name).write_text("garbage")
    refused(deepfake("infer", "data.root=pictures"), *words)


def test_a_damaged_checkpoint_is_named(deepfake: Command, trained: Path) -> None:
    (trained / "runs/pictures/fold0/done.json").unlink()
    (trained / "runs/pictures/fold0/last.pt").write_text("garbage")
    refused(deepfake("index", "folds", "extract", "train", "fold=0", *WHOLE), "last.pt is damaged: remove it")


def test_a_diverging_training_names_its_media(deepfake: Command, pictures: Path) -> None:
    refused(deepfake("index", "folds", "extract", "train", "fold=0", *WHOLE, "optim.lr=1e30"), "not finite", "optim.lr")


def test_an_output_that_cannot_be_written_is_named(deepfake: Command, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(deepfake("index", "data.root=pictures", "paths.data=file/x"), "file/x", "Not a directory")
