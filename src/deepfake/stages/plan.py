"""What speaks in an inference: the folds of one run, or of all runs of a blend, and how their logits become one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake import layout
from deepfake.config import AUTO_VIEWS, Config
from deepfake.errors import UserError
from deepfake.stages.common import damaged_blend, read_blend, say, trained_folds
from deepfake.stages.views import kept_views
from deepfake.tables import FOLDS, OOF, sha256

if TYPE_CHECKING:
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
    fallbacks: reason → logit, and from where. cv: what the whole was measured to score out of fold, nested, in
    cv_metric; None = not known.
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
        whole = self.blends[0]
        return whole.threshold if whole.recipe.threshold else None

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
    tables = [OOF.read(layout.oof_table(path)) for path in numbered.values()]
    _, faceless = labels_and_faceless(pd.concat(tables) if tables else OOF.empty())
    members = [Member(cfg.run, fold, layout.best_weights(path)) for fold, path in folds.items()]
    blend = Blend((cfg.run,), Recipe(), (1.0,))
    split = layout.folds_table(cfg.paths.folds, facts[0]["dataset"])
    views = kept_views(cfg, tables, FOLDS.read(split) if split.is_file() else None)
    return Plan(members, [blend], views, fallbacks(prior, faceless), facts[0]["dataset"])


def _of_blend(cfg: Config, path: Path) -> Plan:
    from deepfake.score.blend import Blend

    if cfg.fold != "all":
        raise UserError(f"fold={cfg.fold}, but {cfg.run} is a blend, made of all folds of its runs: leave fold out")
    record = read_blend(path)
    try:
        blends = [Blend.from_json(values).without_idle() for values in (record["blend"], *record["of_fewer_runs"])]
        weights, nested = record["weights_sha256"], record["nested"]
        order = list(dict.fromkeys(run for blend in reversed(blends) for run in blend.runs))  # the last to go first
        members = [member for run in order for member in _members(cfg, path, run, weights[run])]
        cv = float(nested["blend"])
        views = [str(view) for view in record["views"]]
        if cfg.infer.tta not in (AUTO_VIEWS, views):
            say("infer", f"views are those that the blend was fitted on: {', '.join(views)}")
        return Plan(members, blends, views, record["fallbacks"], record["dataset"], cv, record["metric"])
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
