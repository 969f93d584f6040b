"""blend: the out-of-fold logits of trained runs → a file that says how they become one logit a medium."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake import layout
from deepfake.config import AUTO_VIEWS, VIEW_NAMES, Config
from deepfake.errors import UserError
from deepfake.files import sha256, write_json
from deepfake.stages.common import read_blend, read_run_config, say, share, trained_folds
from deepfake.stages.plan import unreadable_labels
from deepfake.stages.views import kept_views
from deepfake.tables import FOLDS, OOF, git_commit

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from deepfake.score.choose import Step, Verdict
    from deepfake.score.evidence import Evidence


def run(cfg: Config) -> None:
    """Write runs/<name>/blend.json, which `infer name=<name>` applies; <name> is `a+b+c` unless given."""
    from deepfake.score.choose import decide
    from deepfake.score.evidence import gather

    check(cfg)
    dataset = _common_ground(cfg)
    folds = FOLDS.read(layout.folds_table(cfg.paths.folds, dataset))
    tables = {name: _out_of_fold(cfg, name) for name in cfg.runs}
    views = _views(cfg, tables, folds)
    tables = {name: table[table.view.isin(views)] for name, table in tables.items()}
    _tell_left_out(tables)
    evidence, faceless = gather(tables, folds)
    _check_classes(evidence)
    say(
        "blend",
        f"{cfg.blend.metric} of {len(evidence.labels)} media with a face, out of fold: {_runs_alone(cfg, evidence)}",
    )
    verdict = decide(evidence, cfg.blend.metric)
    record = {
        "metric": cfg.blend.metric,
        "dataset": dataset,
        "views": views,
        "weights_sha256": {name: _weights(cfg, name) for name in cfg.runs},
        "git_commit": git_commit(),
        **_figures(evidence, verdict, cfg.blend.metric),
        "fallbacks": _fallbacks(cfg, dataset, folds, faceless),
    }
    _tell(verdict, record)
    path = layout.blend_file(cfg.paths.runs, cfg.run)
    write_json(record, path)
    say("blend", f"→ {path}; next: ./run_infer.sh name={cfg.run}")


def check(cfg: Config) -> None:
    """UserError when the runs are not named, or the blend would have a trained run's name."""
    if not cfg.runs or len(set(cfg.runs)) < len(cfg.runs):
        raise UserError(f"runs={cfg.runs}; allowed: names of trained runs, each once, as in runs=[a,b,c]")
    if trained_folds(cfg.paths.runs, cfg.run):
        raise UserError(f"name={cfg.run} is a trained run: give the blend a name of its own with name=…")


def _common_ground(cfg: Config) -> str:
    """The data set that all runs were trained on. UserError when their data, splits or crops are not the same, or the
    split has changed since."""
    from deepfake.learn.facts import read_facts

    grounds = {}
    for name in cfg.runs:
        for path in _scored_folds(cfg, name).values():
            inputs = read_run_config(path)["made_from"]["inputs"]
            dataset = read_facts(layout.best_weights(path))["dataset"]
            grounds.setdefault((dataset, inputs["folds"], inputs["faces"]), name)
    (one, first), *others = grounds.items()
    for other, second in others:
        differ = [what for what, left, right in zip(("data", "split", "crops"), one, other) if left != right]
        raise UserError(f"runs {first} and {second} have other {' and '.join(differ)}: train them on the same")
    dataset, folds_sha256, _ = one
    path = layout.folds_table(cfg.paths.folds, dataset)
    if not path.is_file() or sha256(path) != folds_sha256:
        raise UserError(f"{path} is not the split that {', '.join(cfg.runs)} were trained on: put that one back")
    return dataset


def _scored_folds(cfg: Config, run: str) -> dict[str, Path]:
    """A run's trained folds that have out-of-fold logits. UserError when there is none."""
    folds = {fold: path for fold, path in trained_folds(cfg.paths.runs, run).items() if fold != "full"}
    if folds:
        return folds
    path = layout.blend_file(cfg.paths.runs, run)
    if path.is_file():
        raise UserError(f"{run} is a blend: name its runs, {', '.join(read_blend(path)['weights_sha256'])}")
    if trained_folds(cfg.paths.runs, run):
        raise UserError(f"run {run} has fold=full alone, which holds no media out: train its folds with fold=all")
    there = sorted(path.name for path in cfg.paths.runs.glob("*") if trained_folds(cfg.paths.runs, path.name))
    raise UserError(f"run {run} has no trained fold; trained runs: {', '.join(there) or 'none'}")


def _out_of_fold(cfg: Config, run: str) -> pd.DataFrame:
    import pandas as pd

    return pd.concat([OOF.read(layout.oof_table(path)) for path in _scored_folds(cfg, run).values()])


def _tell_left_out(tables: dict[str, pd.DataFrame]) -> None:
    """Media that count for nothing, as not every run has held them out."""
    everything = set().union(*(table.media_id for table in tables.values()))
    for name, table in tables.items():
        if lacking := len(everything - set(table.media_id)):
            say(
                "blend", f"{share(lacking, len(everything))} media are left out: run {name} lacks the folds they are in"
            )


def _views(cfg: Config, tables: dict[str, pd.DataFrame], folds: pd.DataFrame) -> list[str]:
    """The views that all runs have been scored by; of those, where there are more than two, the ones that pay."""
    known = {name: set(table.view) for name, table in tables.items()}
    there = [view for view in VIEW_NAMES if all(view in views for views in known.values())]
    told = "; ".join(f"{name}: {', '.join(view for view in VIEW_NAMES if view in known[name])}" for name in known)
    if not there:
        raise UserError(f"no view was scored by all runs ({told}): train them with the same infer.tta")
    if any(views != set(there) for views in known.values()):
        say("blend", f"views that all runs have been scored by: {', '.join(there)} ({told})")
    if len(there) <= 2:
        return there
    named = [table.assign(run=name) for name, table in tables.items()]
    return kept_views(replace(cfg, infer=replace(cfg.infer, tta=AUTO_VIEWS)), named, folds)


def _weights(cfg: Config, run: str) -> dict[str, str]:
    """Fold → digest of its weights: a blend is one of these very models."""
    return {fold: sha256(layout.best_weights(path)) for fold, path in _scored_folds(cfg, run).items()}


def _check_classes(evidence: Evidence) -> None:
    counts = [int((evidence.labels == label).sum()) for label in (0, 1)]
    if min(counts) < 2 * 3:
        raise UserError(
            f"the runs have {len(evidence.labels)} media with a face in common ({counts[0]} real, {counts[1]} fake), "
            f"too few to fit anything to: train the same folds of each"
        )


def _runs_alone(cfg: Config, evidence: Evidence) -> str:
    from deepfake.score.gain import metric_of

    scores = [metric_of(cfg.blend.metric, evidence.labels, logits) for logits in evidence.pooled["mean"].T]
    return ", ".join(f"{run} {score:.4f}" for run, score in zip(evidence.runs, scores, strict=True))


def _figures(evidence: Evidence, verdict: Verdict, metric: str) -> dict[str, Any]:
    """All that was fitted, and what speaks for it."""
    from deepfake.score.calibrate import calibration_error, reliability
    from deepfake.score.choose import by_worth, worth
    from deepfake.score.gain import metric_of

    labels, ways = evidence.labels, {"plain_mean": verdict.plain, "blend": verdict.nested}
    whole, *fewer = by_worth(verdict.recipe, evidence, metric)
    worths = worth(verdict.recipe, evidence, metric) if len(evidence.runs) > 1 else {}
    return {
        "blend": whole.to_json(),
        "of_fewer_runs": [blend.to_json() for blend in fewer],
        "nested": {
            "media": len(labels),
            "plain_mean": metric_of(metric, labels, verdict.plain),
            "blend": metric_of(metric, labels, verdict.nested - verdict.thresholds),
            "gain": verdict.gain,
            "standard_error": verdict.error,
        },
        "steps": [asdict(step) | {"taken": step.taken} for step in verdict.steps],
        "correlation": _correlation(evidence),
        "worth": {run: {"gain": gain, "standard_error": error} for run, (gain, error) in worths.items()},
        "reliability": {way: reliability(labels, logits) for way, logits in ways.items()},
        "calibration_error": {way: calibration_error(labels, logits) for way, logits in ways.items()},
    }


def _correlation(evidence: Evidence) -> dict[str, dict[str, float]]:
    """Spearman's, of the runs' mean logits."""
    import pandas as pd

    logits = pd.DataFrame(evidence.pooled["mean"], columns=list(evidence.runs))
    return logits.corr("spearman").round(4).to_dict()


def _fallbacks(cfg: Config, dataset: str, folds: pd.DataFrame, faceless: np.ndarray) -> dict[str, dict[str, Any]]:
    """What is said of media that no model can speak for, by reason."""
    from deepfake.score.fallback import fallbacks, prior_logit

    prior = prior_logit(folds.label.to_numpy(int))
    return fallbacks(prior, faceless, unreadable_labels(cfg, dataset, folds))


def _told(step: Step) -> str:
    """A step's question and answer in words, before the figures."""
    if step.question == "signal":
        return f"{'the surest' if step.taken else 'not even the surest'} run's AUC lies beside 1/2 by more than noise"
    return f"{step.question}: {step.answer}" if step.taken else f"{step.question}: as it was, at most {step.answer}"


def _tell(verdict: Verdict, record: dict[str, Any]) -> None:
    """What was asked and answered, what it is worth, and how honest the probabilities are.

    record: as it is written.
    """
    from deepfake.score.choose import Recipe

    for step in verdict.steps:
        figures = f"{step.metric} {step.gain:+.4f} ± {step.error:.4f}, asked for {step.needed:.4f}"
        say("blend", f"  {_told(step)}: {figures}")
    for name in verdict.recipe.inverted:
        say("blend", f"  RUN {name} IS INVERTED: it calls fakes real; its logits are negated. Look at its labels")
    metric, nested = record["metric"], record["nested"]
    if verdict.recipe == Recipe():
        why = "nothing pays by more than its noise"
        if any(step.taken and step.question != "signal" for step in verdict.steps):
            why = "what was chosen does not pay when the choosing is scored nested"
        say("blend", f"{why}: the plain mean of logits stays, {metric} {nested['plain_mean']:.4f}")
    else:
        gain = f"gain {nested['gain']:.4f} ± {nested['standard_error']:.4f} (standard error)"
        say("blend", f"nested {metric} {nested['blend']:.4f}, plain mean of logits {nested['plain_mean']:.4f}: {gain}")
    if len(record["correlation"]) > 1:
        for run, row in record["correlation"].items():
            others = ", ".join(f"{other} {r:.3f}" for other, r in row.items() if other != run)
            say("blend", f"  rank correlation of {run}: {others}")
    for run, value in record["worth"].items():
        say("blend", f"  worth of {run} beside the others: {value['gain']:+.4f} ± {value['standard_error']:.4f}")
    _tell_reliability(record)


def _tell_reliability(record: dict[str, Any]) -> None:
    """Before and after: what was said in each tenth of the media, and how many of them were fake."""
    ways = record["reliability"]
    for way, rows in ways.items() if ways["blend"] != ways["plain_mean"] else [("plain_mean", ways["plain_mean"])]:
        said = "  ".join(f"{row['probability']:.2f}:{row['share_fake']:.2f}" for row in rows)
        error = record["calibration_error"][way]
        say("blend", f"  P(fake) : share that is fake, {way.replace('_', ' ')}, apart by {error:.3f}: {said}")
