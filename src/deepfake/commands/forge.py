"""forge: real crops → their reconstructions, by small autoencoders that are trained on them: fakes to train on."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake.commands import Chain
from deepfake.config import Config
from deepfake.console import listed, progress, say
from deepfake.errors import UserError
from deepfake.files import digest, read_json, replacing, rows_digest, write_json
from deepfake.knobs import shaping
from deepfake.machine import alone
from deepfake.provenance import Provenance, is_current
from deepfake.settings import dataset_of
from deepfake.tables import FORGED
from deepfake.workspace.dataset import Dataset
from deepfake.workspace.forgeries import Forgeries

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import nn

    from deepfake.learn.coder import Coder

ABOUT = "real crops → their reconstructions by autoencoders, for train.forge=[reconstruct]"
READS = ("paths", "data", "crop", "extract", "forge", "seed", "train.forge")
ORDER = 35
FILES = "skip"
LONG = True

SIDE, BATCH = 64, 12  # px, windows: of a step of an autoencoder's training
PICTURES = 2000  # that an autoencoder learns from, at most
SHOWN = 32  # pictures by which its figures are measured


def run(cfg: Config, chain: Chain) -> Dataset:
    """Write data/<dataset>/forged.parquet and a reconstruction of every real crop of the training media, by one
    autoencoder after the other in turn.

    What is there, of a call that was cut short too, is kept. On the way to a training it does nothing unless
    train.forge has a kind that needs copies.
    """
    import pandas as pd

    from deepfake.forgery.kinds import need_copies

    dataset = dataset_of(cfg)
    if chain.names != ("forge",) and not need_copies(cfg.train.forge):
        return dataset
    dataset.check_crops()
    forgeries = Forgeries(dataset)
    reals = forgeries.reals()
    provenance = Provenance("forge", shaping(cfg, "forge", "seed"), {"reals": rows_digest(reals)})
    if is_current(forgeries.path, provenance):
        say("forge", f"up to date: {forgeries.path}")
        return dataset
    raw = dataset.raw_folder(is_named_alone=not (cfg.data.root or cfg.data.listing))
    lost = [file for file in reals.file.unique() if not (raw / file).is_file()]
    if lost:  # how it was compressed is told by the file alone
        raise UserError(f"{len(lost)} real media are not in {raw} ({listed(lost)}): put them back, or index again")
    tables, names = [], _coder_names(cfg.forge.steps, cfg.forge.vae)
    with alone(forgeries.lock, f"another process is forging into {forgeries.folder}: wait for it, or stop it"):
        for number, name in enumerate(names):
            state = digest(provenance.to_json() | {"coder": name})
            workshop = _workshop(dataset, reals, name, steps=cfg.forge.steps, seed=cfg.seed, state=state)
            tables.append(_reconstructed(workshop, dataset, raw, reals[number :: len(names)]))
    table = FORGED.write(pd.concat(tables, ignore_index=True), forgeries.path, provenance)
    say("forge", f"{len(table)} reconstructions of {len(reals)} real crops → {forgeries.path}")
    return dataset


def _coder_names(steps: int, vaes: list[str]) -> list[str]:
    from deepfake.learn.coder import CODERS

    names = [*(CODERS if steps else ()), *vaes]
    if not names:
        raise UserError("forge.steps=0 and no forge.vae: there is no autoencoder to reconstruct by")
    return names


def _reconstructed(workshop: Workshop, dataset: Dataset, raw: Path, reals: pd.DataFrame) -> pd.DataFrame:
    """An autoencoder's rows of the table, its pictures written; those that lie there are kept.
    raw: the folder that the media's files are relative to."""
    rows = reals.assign(coder=workshop.name)
    made = [workshop.folder / path for path in reals.path]
    rows["path"] = [path.relative_to(dataset.folder).as_posix() for path in made]
    left = [pair for pair in zip(reals.path, reals.file, made) if not pair[2].is_file()]
    label = workshop.name.rsplit("/", 1)[-1]
    with progress(len(rows), f"{label:.8}", "crops", done=len(rows) - len(left)) as bar:
        for real, file, path in left:
            workshop.reconstruct(dataset.folder / real, raw / file, path)
            bar.update()
    return rows[list(FORGED.columns)]


@dataclass(frozen=True)
class Workshop:
    """An autoencoder, and the folder where it and its reconstructions lie."""

    name: str
    folder: Path
    device: torch.device
    coder: nn.Module

    def reconstruct(self, real: Path, file: Path, made: Path) -> None:
        """Write the reconstruction of a crop, as sharp as that, and saved as its file was, and the crop itself."""
        from deepfake.forgery.reconstruct import encoded_like, with_detail_of, with_history
        from deepfake.learn.coder import reconstruct
        from deepfake.learn.data import read_crop

        crop = read_crop(real)
        picture = with_history(with_detail_of(reconstruct(self.coder, crop, self.device), crop), file)
        with replacing(made) as temporary:
            temporary.write_bytes(encoded_like(picture, real))


def _workshop(dataset: Dataset, reals: pd.DataFrame, name: str, *, steps: int, seed: int, state: str) -> Workshop:
    """The autoencoder of that name; trained now, where it is not there. What another one left in its folder goes."""
    import torch

    from deepfake.learn.coder import CODERS, load_coder, save_coder
    from deepfake.learn.engine import prepare_process
    from deepfake.learn.vae import load_vae

    prepare_process()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    folder = Forgeries(dataset).folder / (name.replace("/", "_").strip("._") or "vae")
    weights, record = folder / "coder.safetensors", folder / "coder.json"
    is_there = _state_of(record) == state
    if not is_there and folder.exists():
        shutil.rmtree(folder)
    if name not in CODERS:
        coder = load_vae(name, device)
    elif is_there:
        coder = load_coder(weights, CODERS[name], device)
    else:
        coder = _trained(dataset, reals, name, steps=steps, seed=seed, device=device)
        save_coder(coder, weights)
    if not is_there:
        figures = _figures(dataset, reals, coder, device)
        write_json({"state": state, "coder": name} | figures, record)
        say("forge", f"{name}: PSNR {figures['psnr_db']:.1f} dB, Laplacian {figures['laplacian']:.2f} of the reals'")
    return Workshop(name, folder, device, coder)


def _state_of(record: Path) -> str | None:
    """What an autoencoder was made by; None where none is there, or its record is damaged."""
    try:
        return read_json(record).get("state")
    except (OSError, ValueError):
        return None


def _trained(dataset: Dataset, reals: pd.DataFrame, name: str, *, steps: int, seed: int, device: torch.device) -> Coder:
    """A small autoencoder, from scratch."""
    from deepfake.learn.coder import CODERS, CoderTraining, patches_of
    from deepfake.learn.data import read_crop

    number = list(CODERS).index(name)
    crops = [read_crop(dataset.folder / path) for path in _spread(reals.path, PICTURES)]
    patches = patches_of(crops, SIDE, BATCH, seed + number)
    training = CoderTraining(CODERS[name], steps=steps, seed=seed + number, device=device)
    with progress(steps, f"{name:.8}", "steps") as bar:
        for _ in range(steps):
            bar.set_postfix_str(f"{training.take_step(next(patches)):.1f} levels off", refresh=False)
            bar.update()
    return training.coder.eval()


def _figures(dataset: Dataset, reals: pd.DataFrame, coder: nn.Module, device: torch.device) -> dict[str, float]:
    """How near reconstructions are to their reals (PSNR, dB) and how sharp they are before they are made as sharp (the
    ratio of the Laplacians' deviations); means over some crops."""
    import cv2
    import numpy as np

    from deepfake.learn.coder import reconstruct
    from deepfake.learn.data import read_crop

    found = []
    for path in _spread(reals.path, SHOWN):
        real = read_crop(dataset.folder / path)
        made = reconstruct(coder, real, device).clip(0, 255)
        error = np.square(made - real).mean()
        sharp, own = (cv2.Laplacian(one, cv2.CV_32F).std() for one in (made, real.astype(np.float32)))
        found.append((10 * np.log10(255**2 / max(error, 1e-9)), sharp / max(own, 1e-9)))
    psnr_db, laplacian = np.mean(found, axis=0)
    return {"psnr_db": round(float(psnr_db), 2), "laplacian": round(float(laplacian), 3)}


def _spread(paths: pd.Series, most: int) -> list[str]:
    """So many of the paths, evenly spread."""
    return list(paths[:: -(-len(paths) // most)])
