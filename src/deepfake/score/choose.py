"""Which steps beyond the plain mean pay: by cross-fitted gain, by more than their noise, and scored nested."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from deepfake.score.blend import FINISHES, WEIGHTS, Blend, Recipe, fit
from deepfake.score.evidence import Evidence
from deepfake.score.gain import direction, error_of, errors_needed, gain_and_error, metric_of

LEVEL = 0.05  # probability that a step of no worth is taken, over all its candidates
NOISE_LEVEL = 0.01  # probability that runs which tell nothing are taken to tell something
DECISIONS = ("accuracy", "macro_f1")
ROUNDING = 1e-6  # two ways to the same logits differ by less


@dataclass(frozen=True)
class Step:
    """One question of the choice. metric: that answers it. gain: of the best candidate over what stood before,
    cross-fitted, positive = better; error: its standard error; needed: the gain that it had to exceed."""

    question: str
    metric: str
    answer: str
    gain: float
    error: float
    needed: float

    @property
    def taken(self) -> bool:
        return self.gain > max(self.needed, ROUNDING)


def crossfit(recipe: Recipe, evidence: Evidence, metric: str) -> np.ndarray:
    """(M,) logits less the threshold of decisions, each fold's by a fit on the other folds."""
    logits, result = evidence.logits(recipe.pool, recipe.inverted), np.empty(len(evidence.labels))
    if recipe == Recipe(recipe.pool, inverted=recipe.inverted):  # nothing is fitted
        return logits.mean(1)
    for fold in np.unique(evidence.folds):
        held_out = evidence.folds == fold
        blend = fit(recipe, evidence.take(~held_out), metric)
        result[held_out] = blend.apply(logits[held_out]) - blend.threshold
    return result


def choose(evidence: Evidence, metric: str) -> tuple[Recipe, list[Step]]:
    """The recipe for a metric, and how it came about: one question after another, from the plain mean.

    A step is taken when its cross-fitted gain exceeds its standard error so many times as errors_needed says, the more
    the more candidates there are. Where no run tells fakes from reals, nothing is asked: what would be fitted is noise.
    """
    inverted, steps = _find_inverted(evidence)
    recipe = Recipe(inverted=inverted)
    if steps[-1].answer == "none":
        return recipe, steps
    for question, judge, candidates in _questions(metric, len(evidence.runs), tuple(evidence.pooled)):
        known = (recipe, _calibrated(recipe)) if question in ("pool", "weights") else (recipe,)
        others = [candidate for candidate in dict.fromkeys(candidates(recipe)) if candidate not in known]
        if not others:
            continue
        answer, step = _ask(question, recipe, others, evidence, judge)
        steps.append(step)
        recipe = answer if step.taken else recipe
    return recipe, steps


def nested(evidence: Evidence, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """(M,) logits and (M,) thresholds, each fold's by a recipe chosen and fitted on the other folds alone.

    What they score is an honest estimate of this choosing and fitting, as no medium has a say in what is done to it.
    """
    logits, thresholds = np.empty((2, len(evidence.labels)))
    for fold in np.unique(evidence.folds):
        held_out = evidence.folds == fold
        rest = evidence.take(~held_out)
        recipe, _ = choose(rest, metric)
        blend = fit(recipe, rest, metric)
        logits[held_out] = blend.apply(evidence.take(held_out).logits(recipe.pool, recipe.inverted))
        thresholds[held_out] = blend.threshold
    return logits, thresholds


@dataclass(frozen=True)
class Verdict:
    """What was decided, and what it is worth.

    plain: (M,) the plain mean's logits. nested: (M,) those of the whole procedure, on media that had no say.
    thresholds: (M,) from which it calls them fake. gain: of nested over plain; error: its standard error.
    """

    recipe: Recipe
    steps: list[Step]
    plain: np.ndarray
    nested: np.ndarray
    thresholds: np.ndarray
    gain: float
    error: float


def decide(evidence: Evidence, metric: str) -> Verdict:
    """Choose a recipe and score the choosing. Where that scores no better than the plain mean, the plain mean it is."""
    recipe, steps = choose(evidence, metric)
    plain, (logits, thresholds) = crossfit(Recipe(), evidence, metric), nested(evidence, metric)
    gain, error = gain_and_error(metric, evidence.labels, evidence.groups, plain, logits - thresholds)
    if gain <= 0 or recipe == Recipe():
        return Verdict(Recipe(), steps, plain, plain, np.zeros(len(plain)), 0.0, 0.0)
    return Verdict(recipe, steps, plain, logits, thresholds, gain, error)


def worth(recipe: Recipe, evidence: Evidence, metric: str) -> dict[str, tuple[float, float]]:
    """By how much each run betters the blend of the others (cross-fitted), with the standard error."""
    whole = crossfit(recipe, evidence, metric)
    found = {}
    for run in evidence.runs:
        rest = crossfit(recipe, _without(evidence, run), metric)
        found[run] = gain_and_error(metric, evidence.labels, evidence.groups, rest, whole)
    return found


def by_worth(recipe: Recipe, evidence: Evidence, metric: str) -> list[Blend]:
    """Blends of fewer and fewer runs, the whole first: each lacks the run that it is missed least in.

    What inference falls back on when time is short.
    """
    blends = [fit(recipe, evidence, metric)]
    while len(evidence.runs) > 1:
        shorter = [_without(evidence, run) for run in evidence.runs]
        scores = [
            direction(metric) * metric_of(metric, rest.labels, crossfit(recipe, rest, metric)) for rest in shorter
        ]
        evidence = shorter[int(np.nanargmax(scores))]
        blends.append(fit(recipe, evidence, metric))
    return blends


def _without(evidence: Evidence, run: str) -> Evidence:
    return evidence.of_runs([other for other in evidence.runs if other != run])


def _find_inverted(evidence: Evidence) -> tuple[tuple[str, ...], list[Step]]:
    """Runs whose AUC lies below 1/2 by more than noise, and whether any run lies beside 1/2 at all."""
    labels, groups = evidence.labels, evidence.groups
    needed = errors_needed(NOISE_LEVEL / 2, len(evidence.runs), groups)
    inverted, steps = [], []
    for run, logits in zip(evidence.runs, evidence.pooled["mean"].T, strict=True):
        away, error = metric_of("auc", labels, logits) - 0.5, error_of("auc", labels, groups, logits)
        steps.append(Step("signal", "auc", "inverted" if away < 0 else "yes", abs(away), error, needed * error))
        if away < 0 and steps[-1].taken:
            inverted.append(run)
    best = max(steps, key=lambda step: step.gain - step.needed)
    if not best.taken:
        return (), [replace(best, answer="none")]
    return tuple(inverted), [replace(best, answer=", ".join(f"-{run}" for run in inverted) or "yes")]


def _questions(
    metric: str, num_runs: int, poolings: tuple[str, ...]
) -> Iterator[tuple[str, str, Callable[[Recipe], list[Recipe]]]]:
    """What is asked, in order, the metric that answers it, and the candidates given what stands.

    For log loss, what puts logits right comes first, so that no pooling or weighting is taken for what that would do,
    and once more at the end, for the logits that there are then. For decisions, the AUC says which logits are better:
    it counts every pair, where a few media that happen to lie at the threshold would make or break an accuracy.
    """
    judge = "auc" if metric in DECISIONS else metric

    def calibrated_too(recipes: list[Recipe]) -> list[Recipe]:
        """A pooling or weighting may move all logits; for log loss it is also judged with that put right."""
        return recipes + [_calibrated(recipe) for recipe in recipes if metric == "log_loss"]

    def finishes(recipe: Recipe) -> list[Recipe]:
        return [replace(recipe, finish=name) for name in FINISHES]

    if metric == "log_loss":
        yield "finish", metric, finishes
    yield "pool", judge, lambda recipe: calibrated_too([replace(recipe, pool=name) for name in poolings])
    if num_runs > 1:
        yield "weights", judge, lambda recipe: calibrated_too([replace(recipe, weights=name) for name in WEIGHTS])
    if metric == "log_loss":
        yield "finish", metric, finishes
    if metric in DECISIONS:
        yield "threshold", metric, lambda recipe: [replace(recipe, threshold=True)]


def _calibrated(recipe: Recipe) -> Recipe:
    return replace(recipe, finish={"none": "calibrate", "clip": "both"}.get(recipe.finish, recipe.finish))


def _ask(question: str, recipe: Recipe, others: list[Recipe], evidence: Evidence, metric: str) -> tuple[Recipe, Step]:
    """Of the candidates that pay, the one with the largest gain; where none does, the one that lacked least.

    One that is calibrated besides has to pay over what stands when that is calibrated as well: the lesser of its two
    gains counts.
    """
    needed = errors_needed(LEVEL, len(others), evidence.groups)
    before = {rival: crossfit(rival, evidence, metric) for rival in (recipe, _calibrated(recipe))}
    steps = {}
    for other in others:
        after, changes = crossfit(other, evidence, metric), _changes(recipe, other)
        rivals = [rival for rival in before if rival == recipe or other == _calibrated(other) != rival]
        gains = [gain_and_error(metric, evidence.labels, evidence.groups, before[rival], after) for rival in rivals]
        found = [Step(question, metric, changes, gain, error, needed * error) for gain, error in gains]
        steps[other] = min(found, key=lambda step: step.gain - step.needed)
    paying = [other for other in others if steps[other].taken]
    if paying:
        best = max(paying, key=lambda other: steps[other].gain)
    else:
        best = max(others, key=lambda other: steps[other].gain - steps[other].needed)
    return best, steps[best]


def _changes(old: Recipe, new: Recipe) -> str:
    pairs = [(item.name, getattr(old, item.name), getattr(new, item.name)) for item in dataclasses.fields(Recipe)]
    return ", ".join(f"{name}={after}" for name, before, after in pairs if before != after)
