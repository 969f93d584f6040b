"""folds: media → which fold validates which medium."""

from __future__ import annotations

from deepfake.commands import Chain
from deepfake.config import Config
from deepfake.console import say
from deepfake.errors import UserError
from deepfake.files import sha256
from deepfake.knobs import shaping
from deepfake.provenance import Provenance, is_current, provenance_path
from deepfake.settings import dataset_of
from deepfake.tables import FOLDS
from deepfake.workspace.dataset import Dataset

ABOUT = "media → folds: stratified, without leaks"
READS = ("paths", "data", "folds")
ORDER = 20


def run(cfg: Config, chain: Chain) -> Dataset:
    """Write folds/<dataset>.csv and print each fold's size and share of fakes.

    A folds file without provenance is somebody's own: it is checked and used as it is.
    """
    from deepfake.splits import assign_folds, check_folds, uneven

    dataset, asked = dataset_of(cfg), cfg.folds
    media, path = dataset.media, dataset.folds_path
    provenance = Provenance("folds", shaping(cfg, "folds"), {"media": sha256(dataset.media_path)})
    own = dataset.has_split and not provenance_path(path).is_file()
    current = own or is_current(path, provenance)
    if not current:
        split = assign_folds(media, num_folds=asked.num_folds, seed=asked.seed, group_donors=asked.group_donors)
        check_folds(split, media, group_donors=asked.group_donors)
        FOLDS.write(split, path, provenance)
    try:
        report = check_folds(dataset.folds, media, group_donors=asked.group_donors)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    if current:
        say("folds", f"{'your own' if own else 'up to date'}: {path}")
    for row in report.itertuples():
        say("folds", f"fold {row.fold}: {row.media} media in {row.groups} groups, {100 * row.fake_rate:.1f} % fake")
    if uneven(report):
        say("folds", "the folds are uneven: large groups leave no better split; fewer folds may be fairer")
    if not current:
        say("folds", f"{len(report)} folds → {path}")
    return dataset
