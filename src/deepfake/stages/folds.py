"""folds: media → which fold validates which medium."""

from __future__ import annotations

from deepfake import layout
from deepfake.config import Config, shaping
from deepfake.errors import UserError
from deepfake.files import sha256
from deepfake.stages.common import say
from deepfake.tables import FOLDS, MEDIA, Provenance, is_current, provenance_path


def run(cfg: Config) -> None:
    """Write folds/<dataset>.csv and print each fold's size and share of fakes.

    A folds file without provenance is somebody's own: it is checked and used as it is.
    """
    from deepfake.folds import assign_folds, check_folds, uneven

    media_path = layout.media_table(cfg.paths.data, cfg.dataset)
    folds_path = layout.folds_table(cfg.paths.folds, cfg.dataset)
    media = MEDIA.read(media_path)
    provenance = Provenance("folds", shaping(cfg, "folds"), {"media": sha256(media_path)})
    own = folds_path.is_file() and not provenance_path(folds_path).is_file()
    current = own or is_current(folds_path, provenance)
    if not current:
        split = assign_folds(
            media, num_folds=cfg.folds.num_folds, seed=cfg.folds.seed, group_donors=cfg.folds.group_donors
        )
        check_folds(split, media, group_donors=cfg.folds.group_donors)
        FOLDS.write(split, folds_path, provenance)
    try:
        report = check_folds(FOLDS.read(folds_path), media, group_donors=cfg.folds.group_donors)
    except UserError as error:
        raise UserError(f"{folds_path}: {error}") from error
    if current:
        say("folds", f"{'your own' if own else 'up to date'}: {folds_path}")
    for row in report.itertuples():
        say("folds", f"fold {row.fold}: {row.media} media in {row.groups} groups, {100 * row.fake_rate:.1f} % fake")
    if uneven(report):
        say("folds", "the folds are uneven: large groups leave no better split; fewer folds may be fairer")
    if not current:
        say("folds", f"{len(report)} folds → {folds_path}")
