"""Test-time views: which of them training scores, and which inference keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepfake.console import say
from deepfake.errors import UserError
from deepfake.tables import VIEW_NAMES

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.score.choose import Step


def scored_views(tta: list[str] | None) -> list[str]:
    """The views of out-of-fold logits: those that are asked for; all there are where inference is to choose (None)."""
    return list(VIEW_NAMES) if tta is None else tta


def kept_views(
    run: str, tta: list[str] | None, oof_tables: list[pd.DataFrame], folds_table: pd.DataFrame | None
) -> list[str]:
    """The views whose logits are averaged: those that are asked for or, for None, those that pay out of fold; it says
    which.

    oof_tables: out-of-fold rows of a run's folds; of several runs with a column run. folds_table: says which media hang
    together; None = each stands for itself. UserError where there are not two views to choose from.
    """
    if tta is not None:
        return tta
    import pandas as pd

    from deepfake.learn.views import passes
    from deepfake.score.choose_views import choose_views

    there = [view for view in VIEW_NAMES if oof_tables and all((table.view == view).any() for table in oof_tables)]
    if len(there) < 2:
        raise UserError(
            f"infer.tta=auto chooses by out-of-fold logits of several views; run {run} has "
            f"{f'those of {there[0]} alone' if there else 'none'}: train with infer.tta=auto, or name the views, as in "
            f"infer.tta=[identity,hflip]"
        )
    rows = pd.concat(oof_tables)
    kept, steps = choose_views(rows, _groups(rows, folds_table), {view: passes(view) for view in there})
    say("infer", f"infer.tta=auto keeps {', '.join(kept)} of {', '.join(there)}; {_told(steps)}")
    return kept


def _groups(rows: pd.DataFrame, folds_table: pd.DataFrame | None) -> pd.Series:
    """media_id → group; a medium that the folds do not know stands for itself."""
    import pandas as pd

    media = pd.Index(rows.media_id.unique())
    alone = media.to_series()
    return alone if folds_table is None else folds_table.set_index("media_id").group_id.reindex(media).fillna(alone)


def _told(steps: list[Step]) -> str:
    """Gains of the views that were added to the first, and of the one that was not."""
    if not steps:
        return "no medium has a face to choose by"
    lines = [f"{step.answer} {step.gain:+.4f} ± {step.error:.4f}" for step in steps if step.taken]
    if not steps[-1].taken:
        step = steps[-1]
        lines.append(f"not {step.answer}, {step.gain:+.4f} ± {step.error:.4f}, asked for {step.needed:.4f}")
    return f"gain in out-of-fold log loss: {', '.join(lines)}"
