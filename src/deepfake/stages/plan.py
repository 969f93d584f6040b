"""What speaks in an inference: the folds of one run, or of all runs of a blend, and how their logits become one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake import layout
from deepfake.config import AUTO_VIEWS, Config
from deepfake.errors import UserError
from deepfake.files import sha256
from deepfake.stages.common import damaged_blend, read_blend, say, trained_folds
from deepfake.stages.views import kept_views
from deepfake.tables import FALLBACKS, FOLDS, OOF, PROBLEMS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from deepfake.score.blend import Blend


@dataclass(frozen=True)
class Member:
    """One model: a fold of a run."""

    run: str
    fold: str
    weights: Path


@dataclass(frozen=True)
class Plan:
    """members: the strongest run's first. blends: of all runs, then of fewer and fewer. views: whose logits count.
    fallbacks: reason → logit, and from where. cv: what the whole was measured to score out of fold on media with a
    face, nested where anything was chosen, in cv_metric; None = not known.
    """

    members: list[Member]
    blends: list[Blend]
    views: list[str]
    fallbacks: dict[str, dict[str, Any]]
    dataset: str
    cv: float | None = None
    cv_metric: str | None = None

    @property
    def threshold(self) -> float | None:
        """The tuned logit from which a medium is called fake; None where none was tuned."""
        return self.blends[0].tuned

    @property
    def runs(self) -> list[str]:
        return list(dict.fromkeys(member.run for member in self.members))


def read_plan(cfg: Config) -> Plan:
    """The plan of the run or blend that `cfg` names. UserError for a fold that is not trained, or a blend that is
    damaged or was made of other weights than are there."""
    path = layout.blend_file(cfg.paths.runs, cfg.run)
    return _of_blend(cfg, path) if path.is_file() else _of_run(cfg)


def _of_run(cfg: Config) -> Plan:
    """fold=all: the numbered folds, or the full model where there are none. Plain mean of logits."""
    import pandas as pd

    from deepfake.learn.facts import read_facts
    from deepfake.score.blend import Blend, Recipe
    from deepfake.score.fallback import fallbacks, labels_and_faceless

    there = trained_folds(cfg.paths.runs, cfg.run)
    if cfg.fold not in ("all", *there):
        raise UserError(f"fold={cfg.fold} of run {cfg.run} is not trained; trained: {', '.join(there)}")
    numbered = {name: path for name, path in there.items() if name != "full"}
    folds = {cfg.fold: there[cfg.fold]} if cfg.fold != "all" else numbered or there
    facts = [read_facts(layout.best_weights(path)) for path in folds.values()]
    prior = sum(fact["prior_logit"] for fact in facts) / len(facts)
    tables = {name: OOF.read(layout.oof_table(path)) for name, path in numbered.items()}
    _, faceless = labels_and_faceless(pd.concat(tables.values()) if tables else OOF.empty())
    members = [Member(cfg.run, fold, layout.best_weights(path)) for fold, path in folds.items()]
    blend = Blend((cfg.run,), Recipe(), (1.0,))
    dataset = facts[0]["dataset"]
    split = layout.folds_table(cfg.paths.folds, dataset)
    folds_table = FOLDS.read(split) if split.is_file() else None
    views = kept_views(cfg, list(tables.values()), folds_table)
    stated = fallbacks(prior, faceless, unreadable_labels(cfg, dataset, folds_table))
    cv = _plain_score([tables[name] for name in folds if name in tables], views)
    return Plan(members, [blend], views, stated, dataset, cv, None if cv is None else "log_loss")


def unreadable_labels(cfg: Config, dataset: str, folds_table: pd.DataFrame | None) -> np.ndarray:
    """(K,) labels of the training media that could not be read; none where the data set's tables are not there."""
    import numpy as np

    path = layout.problems_table(layout.dataset_folder(cfg.paths.data, dataset), "extract")
    if folds_table is None or not path.is_file():
        return np.empty(0, int)
    return folds_table.label[folds_table.media_id.isin(PROBLEMS.read(path).media_id)].to_numpy(int)


def _plain_score(tables: list[pd.DataFrame], views: list[str]) -> float | None:
    """Out-of-fold log loss of the plain mean, over media with a face; None where these folds have scored none."""
    import pandas as pd

    from deepfake.score.gain import metric_of
    from deepfake.score.pool import mean_logits

    rows = pd.concat(tables) if tables else OOF.empty()
    rows = rows[rows.found & rows.view.isin(views)]
    if rows.empty:
        return None
    labels = rows.groupby("media_id", sort=True).label.first().to_numpy(int)
    return metric_of("log_loss", labels, mean_logits(rows).to_numpy())


def read_blends(path: Path) -> tuple[dict[str, Any], list[Blend]]:
    """A blend's file, and the blends in it: of all runs, then of fewer and fewer. UserError when it is damaged."""
    from deepfake.score.blend import Blend

    record = read_blend(path)
    try:
        return record, [Blend.from_json(one).without_idle() for one in (record["blend"], *record["of_fewer_runs"])]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged_blend(path, error) from error


def _of_blend(cfg: Config, path: Path) -> Plan:
    if cfg.fold != "all":
        raise UserError(f"fold={cfg.fold}, but {cfg.run} is a blend, made of all folds of its runs: leave fold out")
    record, blends = read_blends(path)
    try:
        weights, nested = record["weights_sha256"], record["nested"]
        off = blends[0].threshold  # what is stated is cut where the blend is
        stated = {
            reason: {
                "logit": float(record["fallbacks"][reason]["logit"]) + off,
                "from": record["fallbacks"][reason]["from"],
            }
            for reason in FALLBACKS
        }
        order = list(dict.fromkeys(run for blend in reversed(blends) for run in blend.runs))  # the last to go first
        members = [member for run in order for member in _members(cfg, path, run, weights[run])]
        cv = float(nested["blend"])
        views = [str(view) for view in record["views"]]
        if cfg.infer.tta not in (AUTO_VIEWS, views):
            say("infer", f"views are those that the blend was fitted on: {', '.join(views)}")
        return Plan(members, blends, views, stated, record["dataset"], cv, record["metric"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise damaged_blend(path, error) from error


def _members(cfg: Config, path: Path, run: str, weights: dict[str, str]) -> list[Member]:
    there = trained_folds(cfg.paths.runs, run)
    members = []
    for fold, digest in weights.items():
        if fold not in there:
            raise UserError(f"{path} speaks by fold {fold} of run {run}, which is not in {cfg.paths.runs}: put it back")
        if sha256(layout.best_weights(there[fold])) != digest:
            raise UserError(f"{path} was made of another fold {fold} of run {run} than is there: make the blend again")
        members.append(Member(run, fold, layout.best_weights(there[fold])))
    return members
