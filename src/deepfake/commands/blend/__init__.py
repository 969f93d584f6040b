"""blend: the out-of-fold logits of trained runs → a file that says how they become one logit a medium."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake.commands import Chain
from deepfake.commands.blend.telling import tell
from deepfake.config import Config
from deepfake.console import say, share
from deepfake.errors import UserError
from deepfake.files import sha256, write_json
from deepfake.provenance import git_commit
from deepfake.settings import roots_of, run_of
from deepfake.tables import VIEW_NAMES
from deepfake.workspace.dataset import Dataset
from deepfake.workspace.roots import Roots
from deepfake.workspace.run import Run, split_of
from deepfake.workspace.tta import kept_views

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.score.choose import Decision
    from deepfake.score.evidence import Evidence

ABOUT = "out-of-fold logits of trained runs → how they become one logit a medium"
READS = ("paths", "blend", "runs", "name")
ORDER = 50


def check(cfg: Config) -> None:
    """UserError when the runs are not named, or the blend would have a trained run's name."""
    if not cfg.runs or len(set(cfg.runs)) < len(cfg.runs):
        raise UserError(f"runs={cfg.runs}; allowed: names of trained runs, each once, as in runs=[a,b,c]")
    if run_of(cfg).folds:
        raise UserError(f"name={cfg.run} is a trained run: give the blend a name of its own with name=…")


def run(cfg: Config, chain: Chain) -> Path:
    """Write runs/<name>/blend.json, which `infer name=<name>` applies, and give its path; <name> is `a+b+c` unless
    given."""
    from deepfake.score.choose import decide
    from deepfake.score.evidence import gather

    check(cfg)
    metric, path = cfg.blend.metric, run_of(cfg).blend_path
    runs = [Run(cfg.paths.runs / name) for name in cfg.runs]
    dataset = _common_dataset(roots_of(cfg), runs)
    tables = {one.name: _out_of_fold(one) for one in runs}
    folds = split_of(runs, dataset.folds)
    views = _common_views(cfg.run, tables, folds)
    tables = {name: table[table.view.isin(views)] for name, table in tables.items()}
    _tell_left_out(tables)
    evidence, faceless = gather(tables, folds)
    if any(one.unseen for one in runs):
        evidence = _of_unseen(runs, tables, folds, share=float(evidence.labels.mean()))
    _check_classes(evidence)
    media = f"{metric} of {len(evidence.labels)} media with a face, out of fold"
    say("blend", f"{media}: {_scores_alone(evidence, metric)}")
    decision = decide(evidence, metric)
    record = {
        "metric": metric,
        "dataset": dataset.name,
        "views": views,
        "weights_sha256": {one.name: _weights(one) for one in runs},
        "git_commit": git_commit(),
        **_figures(evidence, decision, metric),
        "fallbacks": _fallbacks(dataset, faceless),
    }
    tell(decision, record)
    write_json(record, path)
    say("blend", f"→ {path}; next: ./run_infer.sh name={cfg.run}")
    return path


def _common_dataset(roots: Roots, runs: Sequence[Run]) -> Dataset:
    """The data set that all runs were trained on. UserError when their data, splits or crops are not the same, or the
    split has changed since."""
    grounds: dict[tuple[str, str, str], str] = {}
    for run in runs:
        for fold in run.scored_folds().values():
            inputs = fold.training["made_from"]["inputs"]
            grounds.setdefault((fold.metadata["dataset"], inputs["folds"], inputs["faces"]), run.name)
    (one, first), *others = grounds.items()
    for other, second in others:
        differ = [what for what, left, right in zip(("data", "split", "crops"), one, other) if left != right]
        raise UserError(f"runs {first} and {second} have other {' and '.join(differ)}: train them on the same")
    name, folds_sha256, _ = one
    dataset = Dataset.at(roots, name)
    if not dataset.has_split or sha256(dataset.folds_path) != folds_sha256:
        names = ", ".join(run.name for run in runs)
        raise UserError(f"{dataset.folds_path} is not the split that {names} were trained on: put that one back")
    return dataset


def _out_of_fold(run: Run) -> pd.DataFrame:
    import pandas as pd

    return pd.concat([fold.oof for fold in run.scored_folds().values()])


def _tell_left_out(tables: dict[str, pd.DataFrame]) -> None:
    """Media that count for nothing, as not every run has held them out."""
    everything = set().union(*(table.media_id for table in tables.values()))
    for name, table in tables.items():
        if lacking := len(everything - set(table.media_id)):
            media = share(lacking, len(everything))
            say("blend", f"{media} media are left out: run {name} lacks the folds they are in")


def _of_unseen(runs: Sequence[Run], tables: dict[str, pd.DataFrame], folds: pd.DataFrame, *, share: float) -> Evidence:
    """The evidence of media alone that folds trained with train.hold_out had never met the like of; the rarer class
    counts again, so that the share of fakes stays, and a bias holds for what is to come."""
    from deepfake.score.calibrate import rows_of_share
    from deepfake.score.evidence import gather

    left = {
        one.name: tables[one.name][tables[one.name].media_id.isin(one.unseen)] if one.unseen else tables[one.name]
        for one in runs
    }
    evidence, _ = gather(left, folds)
    _check_classes(evidence)
    rows = rows_of_share(evidence.labels, share)
    of = f"{len(evidence.labels)} media with a face of methods or sources that runs were trained without"
    say("blend", f"{of}; with the rarer class counted again, {len(rows)}")
    if met := [one.name for one in runs if not one.unseen]:
        say("blend", f"trained without train.hold_out: {', '.join(met)}; that they have met these favours them")
    return evidence.take(rows)


def _common_views(name: str, tables: dict[str, pd.DataFrame], folds: pd.DataFrame) -> list[str]:
    """The views that all runs have been scored by; of those, where there are more than two, the ones that pay."""
    known = {run: set(table.view) for run, table in tables.items()}
    there = [view for view in VIEW_NAMES if all(view in views for views in known.values())]
    told = "; ".join(f"{run}: {', '.join(view for view in VIEW_NAMES if view in known[run])}" for run in known)
    if not there:
        raise UserError(f"no view was scored by all runs ({told}): train them with the same infer.tta")
    if any(views != set(there) for views in known.values()):
        say("blend", f"views that all runs have been scored by: {', '.join(there)} ({told})")
    if len(there) <= 2:
        return there
    return kept_views(name, None, [table.assign(run=run) for run, table in tables.items()], folds)


def _weights(run: Run) -> dict[str, str]:
    """Fold → sha256 of its weights: a blend is one of these very models."""
    return {name: fold.weights_sha256() for name, fold in run.scored_folds().items()}


def _check_classes(evidence: Evidence) -> None:
    counts = [int((evidence.labels == label).sum()) for label in (0, 1)]
    if min(counts) < 2 * 3:
        raise UserError(
            f"the runs have {len(evidence.labels)} media with a face in common ({counts[0]} real, {counts[1]} fake), "
            f"too few to fit anything to: train the same folds of each"
        )


def _scores_alone(evidence: Evidence, metric: str) -> str:
    from deepfake.score.gain import metric_of

    scores = [metric_of(metric, evidence.labels, logits) for logits in evidence.pooled["mean"].T]
    return ", ".join(f"{run} {score:.4f}" for run, score in zip(evidence.runs, scores, strict=True))


def _figures(evidence: Evidence, decision: Decision, metric: str) -> dict[str, Any]:
    """All that was fitted, and what speaks for it."""
    from deepfake.score.calibrate import calibration_error, reliability
    from deepfake.score.choose import blends_of_fewer_runs, leave_one_out_gains
    from deepfake.score.gain import metric_of

    labels, ways = evidence.labels, {"plain_mean": decision.plain, "blend": decision.nested}
    whole, *fewer = blends_of_fewer_runs(decision.options, evidence, metric)
    gains = leave_one_out_gains(decision.options, evidence, metric) if len(evidence.runs) > 1 else {}
    return {
        "blend": whole.to_json(),
        "of_fewer_runs": [blend.to_json() for blend in fewer],
        "nested": {
            "media": len(labels),
            "plain_mean": metric_of(metric, labels, decision.plain),
            "blend": metric_of(metric, labels, decision.nested - decision.thresholds),
            "gain": decision.gain,
            "standard_error": decision.error,
        },
        "steps": [asdict(step) | {"taken": step.taken} for step in decision.steps],
        "correlation": _correlation(evidence),
        "leave_one_out_gain": {run: {"gain": gain, "standard_error": error} for run, (gain, error) in gains.items()},
        "reliability": {way: reliability(labels, logits) for way, logits in ways.items()},
        "calibration_error": {way: calibration_error(labels, logits) for way, logits in ways.items()},
    }


def _correlation(evidence: Evidence) -> dict[str, dict[str, float]]:
    """Spearman's, of the runs' mean logits."""
    import pandas as pd

    logits = pd.DataFrame(evidence.pooled["mean"], columns=list(evidence.runs))
    return dict(logits.corr("spearman").round(4).to_dict())


def _fallbacks(dataset: Dataset, faceless: Any) -> dict[str, dict[str, Any]]:
    """The logit of media that no model can speak for, by reason. faceless: (M,) labels of those without a face."""
    from deepfake.score.fallback import fallbacks, training_prior

    labels = dataset.folds.label.to_numpy(int)
    return fallbacks(training_prior(labels), faceless if labels.any() else (), dataset.unreadable_labels())
