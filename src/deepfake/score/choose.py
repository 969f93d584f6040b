"""Which steps beyond the plain mean pay.

A step pays when its cross-fitted gain exceeds its noise. The choosing itself is scored nested: on media that had no say
in it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from deepfake.score.blending import CALIBRATIONS, WEIGHTS, Blend, BlendOptions, fit
from deepfake.score.evidence import Evidence
from deepfake.score.gain import direction, error_of, errors_needed, gain_and_error, metric_of

LEVEL = 0.05  # probability that a useless step is taken, over all its candidates
NOISE_LEVEL = 0.01  # probability that runs of pure noise are taken for informative
DECISIONS = ("accuracy", "macro_f1")
ROUNDING = 1e-6  # two ways to the same logits differ by less


@dataclass(frozen=True)
class Step:
    """One question of the choice, and its best candidate."""

    question: str
    """signal, pool, weights, calibration, threshold, or view."""
    metric: str
    """The metric that decides."""
    answer: str
    """The best candidate, as what it changes."""
    gain: float
    """The candidate's cross-fitted gain over what stood before; positive = better."""
    error: float
    """The gain's standard error."""
    needed: float
    """The gain that the candidate had to exceed."""

    @property
    def taken(self) -> bool:
        return self.gain > max(self.needed, ROUNDING)


def crossfit(options: BlendOptions, evidence: Evidence, metric: str) -> np.ndarray:
    """(M,) logits less the threshold of decisions; each fold's come from a fit on the other folds."""
    logits, result = evidence.logits(options.pool, options.inverted), np.empty(len(evidence.labels))
    if options == BlendOptions(options.pool, inverted=options.inverted):  # nothing is fitted
        return logits.mean(1)
    for fold in np.unique(evidence.folds):
        held_out = evidence.folds == fold
        blend = fit(options, evidence.take(~held_out), metric)
        result[held_out] = blend.apply(logits[held_out]) - blend.threshold
    return result


def choose(evidence: Evidence, metric: str) -> tuple[BlendOptions, list[Step]]:
    """The options for a metric, and the steps that led to them.

    The choice starts from the plain mean and asks one question after another. A step is taken when its cross-fitted
    gain exceeds `errors_needed` standard errors, a bound that grows with the number of candidates. Where no run tells
    fakes from reals, no further question is asked: a fit would follow noise.
    """
    inverted, steps = _find_inverted(evidence)
    options = BlendOptions(inverted=inverted)
    if steps[-1].answer == "none":
        return options, steps
    for question, decider, candidates in _questions(metric, len(evidence.runs), tuple(evidence.pooled)):
        known = (options, _calibrated(options)) if question in ("pool", "weights") else (options,)
        others = [candidate for candidate in dict.fromkeys(candidates(options)) if candidate not in known]
        if not others:
            continue
        answer, step = _ask(question, options, others, evidence, decider)
        steps.append(step)
        options = answer if step.taken else options
    return options, steps


def nested(evidence: Evidence, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """(M,) logits and (M,) thresholds; each fold's come from options chosen and fitted on the other folds alone.

    Their score is an honest estimate of choosing and fitting, as no medium has a say in its own logit.
    """
    logits, thresholds = np.empty((2, len(evidence.labels)))
    for fold in np.unique(evidence.folds):
        held_out = evidence.folds == fold
        rest = evidence.take(~held_out)
        options, _ = choose(rest, metric)
        blend = fit(options, rest, metric)
        logits[held_out] = blend.apply(evidence.take(held_out).logits(options.pool, options.inverted))
        thresholds[held_out] = blend.threshold
    return logits, thresholds


@dataclass(frozen=True)
class Decision:
    """Which options were chosen, and what the choosing gains."""

    options: BlendOptions
    steps: list[Step]
    plain: np.ndarray
    """(M,) logits of the plain mean."""
    nested: np.ndarray
    """(M,) logits of choosing and fitting, on media that had no say."""
    thresholds: np.ndarray
    """(M,) logits from which these media are called fake."""
    gain: float
    """By how much `nested` beats `plain`."""
    error: float
    """The gain's standard error."""


def decide(evidence: Evidence, metric: str) -> Decision:
    """Choose options and score the choosing. Where it scores no better than the plain mean, the plain mean is kept."""
    options, steps = choose(evidence, metric)
    plain, (logits, thresholds) = crossfit(BlendOptions(), evidence, metric), nested(evidence, metric)
    gain, error = gain_and_error(metric, evidence.labels, evidence.groups, plain, logits - thresholds)
    if gain <= 0 or options == BlendOptions():
        return Decision(BlendOptions(), steps, plain, plain, np.zeros(len(plain)), 0.0, 0.0)
    return Decision(options, steps, plain, logits, thresholds, gain, error)


def leave_one_out_gains(options: BlendOptions, evidence: Evidence, metric: str) -> dict[str, tuple[float, float]]:
    """Run → by how much the blend with it beats the blend without it (cross-fitted), and the standard error."""
    whole = crossfit(options, evidence, metric)
    gains = {}
    for run in evidence.runs:
        rest = crossfit(options, _without(evidence, run), metric)
        gains[run] = gain_and_error(metric, evidence.labels, evidence.groups, rest, whole)
    return gains


def blends_of_fewer_runs(options: BlendOptions, evidence: Evidence, metric: str) -> list[Blend]:
    """The blend of all runs, then of one run fewer each, down to a single run.

    The run that is dropped is the one whose loss costs the metric least (cross-fitted). Inference uses the shorter
    blends when time is short.
    """
    blends = [fit(options, evidence, metric)]
    while len(evidence.runs) > 1:
        shorter = [_without(evidence, run) for run in evidence.runs]
        scores = [
            direction(metric) * metric_of(metric, rest.labels, crossfit(options, rest, metric)) for rest in shorter
        ]
        evidence = shorter[int(np.nanargmax(scores))]
        blends.append(fit(options, evidence, metric))
    return blends


def _without(evidence: Evidence, run: str) -> Evidence:
    return evidence.of_runs([other for other in evidence.runs if other != run])


def _find_inverted(evidence: Evidence) -> tuple[tuple[str, ...], list[Step]]:
    """Runs whose AUC lies below 1/2 by more than noise; and the step `signal`, whose answer is "none" where every
    run's AUC is 1/2 within noise.
    """
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
) -> Iterator[tuple[str, str, Callable[[BlendOptions], list[BlendOptions]]]]:
    """(question, the metric that decides it, options so far → the candidates), in the order of asking.

    For log loss, calibration comes first, so that no pooling or weighting is credited with what calibration alone would
    gain. It comes again at the end, because the logits may have changed by then. For decisions (accuracy, macro_f1) the
    AUC compares poolings and weights: it counts every pair, whereas an accuracy hangs on the few media near the
    threshold.
    """
    decider = "auc" if metric in DECISIONS else metric

    def calibrated_too(candidates: list[BlendOptions]) -> list[BlendOptions]:
        """A pooling or weighting may scale or shift all logits: for log loss, each is tried calibrated as well."""
        return candidates + [_calibrated(candidate) for candidate in candidates if metric == "log_loss"]

    def calibrations(options: BlendOptions) -> list[BlendOptions]:
        return [replace(options, calibration=name) for name in CALIBRATIONS]

    if metric == "log_loss":
        yield "calibration", metric, calibrations
    yield "pool", decider, lambda options: calibrated_too([replace(options, pool=name) for name in poolings])
    if num_runs > 1:
        yield "weights", decider, lambda options: calibrated_too([replace(options, weights=name) for name in WEIGHTS])
    if metric == "log_loss":
        yield "calibration", metric, calibrations
    if metric in DECISIONS:
        yield "threshold", metric, lambda options: [replace(options, threshold=True)]


def _calibrated(options: BlendOptions) -> BlendOptions:
    return replace(
        options, calibration={"none": "calibrate", "clip": "both"}.get(options.calibration, options.calibration)
    )


def _ask(
    question: str, options: BlendOptions, others: list[BlendOptions], evidence: Evidence, metric: str
) -> tuple[BlendOptions, Step]:
    """The candidate with the largest gain among those that pay; where none pays, the one that came closest.

    A calibrated candidate must beat `options` both as they are and calibrated: the lesser of the two gains counts.
    """
    needed = errors_needed(LEVEL, len(others), evidence.groups)
    before = {rival: crossfit(rival, evidence, metric) for rival in (options, _calibrated(options))}
    steps = {}
    for other in others:
        after, changes = crossfit(other, evidence, metric), _changes(options, other)
        rivals = [rival for rival in before if rival == options or other == _calibrated(other) != rival]
        gains = [gain_and_error(metric, evidence.labels, evidence.groups, before[rival], after) for rival in rivals]
        found = [Step(question, metric, changes, gain, error, needed * error) for gain, error in gains]
        steps[other] = min(found, key=lambda step: step.gain - step.needed)
    paying = [other for other in others if steps[other].taken]
    if paying:
        best = max(paying, key=lambda other: steps[other].gain)
    else:
        best = max(others, key=lambda other: steps[other].gain - steps[other].needed)
    return best, steps[best]


def _changes(old: BlendOptions, new: BlendOptions) -> str:
    pairs = [(item.name, getattr(old, item.name), getattr(new, item.name)) for item in dataclasses.fields(BlendOptions)]
    return ", ".join(f"{name}={after}" for name, before, after in pairs if before != after)
