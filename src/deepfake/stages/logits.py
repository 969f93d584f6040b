"""Logits of crops by a plan's models, and parts of them on disk."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake.config import Config
from deepfake.errors import UserError
from deepfake.stages.common import listed, worker_count
from deepfake.stages.plan import Plan
from deepfake.tables import LOGITS

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.learn.panel import Panel


def load_panel(cfg: Config, plan: Plan) -> Panel:
    """The plan's models, where and as they compute."""
    import torch

    from deepfake.learn.engine import choose_precision, prepare_process
    from deepfake.learn.panel import Panel

    precision = choose_precision(
        cfg.train.amp if torch.cuda.is_available() else "auto", channels_last=cfg.train.channels_last
    )
    prepare_process()
    return Panel(
        [member.weights for member in plan.members],
        precision,
        batch_size=cfg.infer.batch_size,
        num_threads=worker_count(cfg.num_workers),
        compiled=cfg.infer.compile,
    )


def logit_rows(
    panel: Panel, plan: Plan, faces: pd.DataFrame, crops: list[Path], *, views: list[str], members: int
) -> pd.DataFrame:
    """Rows of the logits table of rows of the faces table, whose crops these are, by the plan's first `members`.

    No model is asked about centre squares: a face is in each of the crops. UserError where a logit is not finite.
    """
    import pandas as pd

    from deepfake.learn.engine import NonFiniteError
    from deepfake.score.pool import view_rows

    assert faces.found.all()
    try:
        logits = panel.score(crops, views=views, members=members)
    except NonFiniteError as error:
        names = listed(faces.media_id.iloc[error.rows].unique())
        raise UserError(f"{error} ({names}): try train.amp=off, or train with other settings") from error
    tables = [
        view_rows(faces, logits[:, number], views).assign(run=member.run, fold=member.fold)
        for number, member in enumerate(plan.members[:members])
    ]
    return pd.concat(tables, ignore_index=True).assign(fallback=None)[list(LOGITS.columns)]


@dataclass
class Parts:
    """Rows of the logits table of finished media, in files that are written whole; `rows` are those of before."""

    folder: Path
    rows: list[pd.DataFrame] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path, settings_digest: str) -> Parts:
        """Parts of these settings; those of others are removed."""
        ours = folder / settings_digest[:16]
        for other in folder.iterdir() if folder.is_dir() else ():
            if other != ours:
                shutil.rmtree(other)
        return cls(ours, [LOGITS.read(path) for path in sorted(ours.glob("[0-9]*.parquet"))])

    def add(self, rows: pd.DataFrame) -> None:
        self.rows.append(LOGITS.write(rows, self.folder / f"{len(self.rows):06d}.parquet"))

    def drop(self, media_ids: set[str]) -> None:
        """Forget rows of media that are to be scored again."""
        kept = [rows[~rows.media_id.isin(media_ids)] for rows in self.rows]
        shutil.rmtree(self.folder, ignore_errors=True)
        self.rows = []
        for rows in kept:
            if len(rows):
                self.add(rows)
