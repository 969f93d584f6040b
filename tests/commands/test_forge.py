"""`python -m deepfake forge`: reconstructions of the real crops, and training on them."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from pipeline import TINY

STEPS = "forge.steps=3"


def made_by(here: Path) -> pd.DataFrame:
    return pd.read_parquet(here / "data/people/forged.parquet")


def test_every_real_crop_of_the_training_is_reconstructed(deepfake, here: Path, demo_root: Path) -> None:
    done = deepfake("forge", f"data.root={demo_root}", *TINY, STEPS)
    assert done.status == 0, done.output
    table, media = made_by(here), pd.read_parquet(here / "data/people/media.parquet")
    faces = pd.read_parquet(here / "data/people/faces.parquet")
    reals = faces[faces.found & faces.media_id.isin(media.media_id[(media.split == "train") & (media.label == 0)])]
    assert set(table.coder) == {"nearest", "transposed", "shuffle", "bilinear"}
    assert len(table) == len(reals) and set(table.media_id) == set(reals.media_id)
    for row in table.iloc[:: len(table) // 3].itertuples():
        folder = here / "data/people"
        real = reals[(reals.media_id == row.media_id) & (reals.frame_idx == row.frame_idx)].path.iloc[0]
        made, own = cv2.imread(str(folder / row.path)), cv2.imread(str(folder / real))
        assert made.shape == own.shape and (made != own).mean() > 0.2
        sharp, wanted = (cv2.Laplacian(one.astype(np.float32), cv2.CV_32F).std() for one in (made, own))
        assert 0.6 < sharp / wanted < 1.5  # after three steps it is a blur of a fifth

    again = deepfake("forge", f"data.root={demo_root}", *TINY, STEPS)
    assert again.status == 0 and "up to date" in again.output


def test_after_a_kill_it_goes_on_with_what_is_there(deepfake, here: Path, demo_root: Path) -> None:
    assert deepfake("forge", f"data.root={demo_root}", *TINY, STEPS).status == 0
    folder = here / "data/people/forged"
    before = {path: path.read_bytes() for path in folder.rglob("crops/**/*_*.png")}
    (here / "data/people/forged.parquet").unlink()
    some = sorted(before)[:3]
    for path in some:
        path.unlink()
    weights = sorted(folder.glob("*/coder.safetensors"))
    times = [path.stat().st_mtime_ns for path in weights]
    done = deepfake("forge", f"data.root={demo_root}", *TINY, STEPS)
    assert done.status == 0, done.output
    assert [path.stat().st_mtime_ns for path in weights] == times  # not trained again
    assert {path: path.read_bytes() for path in folder.rglob("crops/**/*_*.png")} == before


def test_an_autoencoder_of_a_damaged_record_is_trained_again(deepfake, here: Path, demo_root: Path) -> None:
    assert deepfake("forge", f"data.root={demo_root}", *TINY, STEPS).status == 0
    folder = here / "data/people/forged"
    records = {path: path.read_text() for path in folder.glob("*/coder.json")}
    weights = {path: path.stat().st_mtime_ns for path in folder.glob("*/coder.safetensors")}
    (here / "data/people/forged.parquet").unlink()
    damaged = sorted(records)[0]
    damaged.write_text("{")
    done = deepfake("forge", f"data.root={demo_root}", *TINY, STEPS)
    assert done.status == 0, done.output
    assert {path: path.read_text() for path in records} == records
    anew = [path.parent for path, time in weights.items() if path.stat().st_mtime_ns != time]
    assert anew == [damaged.parent]


def test_a_training_takes_them_as_fakes(deepfake, here: Path, demo_root: Path) -> None:
    asked = (f"data.root={demo_root}", *TINY, "fold=0", "name=made", "train.forge=[reconstruct]")
    early = deepfake("train", *asked)
    assert early.status == 2 and "has no reconstructions, which train.forge=[reconstruct] asks for: run forge" in (
        early.output
    )
    done = deepfake("forge", "train", *asked, STEPS)
    assert done.status == 0 and "forged as it goes" in done.output, done.output
    other = deepfake("forge", "train", *asked, "forge.steps=2")
    assert other.status == 2 and "was trained with other settings (other forged)" in other.output


def test_on_the_way_to_a_training_without_them_it_does_nothing(deepfake, here: Path, demo_root: Path) -> None:
    done = deepfake("forge", "train", f"data.root={demo_root}", *TINY, "fold=0", "name=plain")
    assert done.status == 0 and not (here / "data/people/forged.parquet").exists(), done.output


def test_what_is_wrong_is_said_in_a_line(deepfake, here: Path, demo_root: Path) -> None:
    none = deepfake("forge", f"data.root={demo_root}", *TINY, "forge.steps=0")
    assert none.status == 2 and "there is no autoencoder to reconstruct by" in none.output
    vae = deepfake("forge", f"data.root={demo_root}", *TINY, "forge.steps=0", "forge.vae=[nowhere/at-all]")
    assert vae.status == 2 and "forge.vae=nowhere/at-all" in vae.output and "Traceback" not in vae.output


def test_a_real_whose_file_is_gone_is_named(deepfake, here: Path, demo_root: Path, tmp_path: Path) -> None:
    """How it was compressed would be lost in silence otherwise."""
    moved = tmp_path / "people"
    shutil.copytree(demo_root, moved)
    media = pd.read_parquet(here / "data/people/media.parquet")
    gone = media[(media.split == "train") & (media.label == 0)].path.iloc[0]
    (moved / gone).unlink()
    done = deepfake("forge", f"data.root={moved}", *TINY, STEPS)
    assert done.status == 2 and f"1 real media are not in {moved} ({gone})" in done.output, done.output
    assert not (here / "data/people/forged").exists()
