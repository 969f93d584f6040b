"""What a blend says of itself: what was asked and answered, what it gains, how honest its probabilities are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deepfake.console import say

if TYPE_CHECKING:
    from deepfake.score.choose import Decision, Step


def _told(step: Step) -> str:
    """A step's question and its answer, in words."""
    if step.question == "signal":
        return f"{'the surest' if step.taken else 'not even the surest'} run's AUC lies beside 1/2 by more than noise"
    return f"{step.question}: {step.answer}" if step.taken else f"{step.question}: as it was, at most {step.answer}"


def tell(decision: Decision, record: dict[str, Any]) -> None:
    """What was asked and answered, what it is worth, and how honest the probabilities are.

    record: as it is written.
    """
    from deepfake.score.blending import BlendOptions

    for step in decision.steps:
        figures = f"{step.metric} {step.gain:+.4f} ± {step.error:.4f}, asked for {step.needed:.4f}"
        say("blend", f"  {_told(step)}: {figures}")
    for name in decision.options.inverted:
        say("blend", f"  RUN {name} IS INVERTED: it calls fakes real; its logits are negated. Look at its labels")
    metric, nested = record["metric"], record["nested"]
    if decision.options == BlendOptions():
        why = "nothing pays by more than its noise"
        if any(step.taken and step.question != "signal" for step in decision.steps):
            why = "nested, what was chosen scores no better"
        say("blend", f"{why}: the plain mean of logits stays, {metric} {nested['plain_mean']:.4f}")
    else:
        gain = f"gain {nested['gain']:.4f} ± {nested['standard_error']:.4f} (standard error)"
        say("blend", f"nested {metric} {nested['blend']:.4f}, plain mean of logits {nested['plain_mean']:.4f}: {gain}")
    if len(record["correlation"]) > 1:
        for run, row in record["correlation"].items():
            others = ", ".join(f"{other} {r:.3f}" for other, r in row.items() if other != run)
            say("blend", f"  rank correlation of {run}: {others}")
    for run, value in record["leave_one_out_gain"].items():
        say("blend", f"  leave-one-out gain of {run}: {value['gain']:+.4f} ± {value['standard_error']:.4f}")
    _tell_reliability(record)


def _tell_reliability(record: dict[str, Any]) -> None:
    """The mean P(fake) of each tenth of the media beside the share of fakes in it, for the plain mean and the blend."""
    ways = record["reliability"]
    for way, rows in ways.items() if ways["blend"] != ways["plain_mean"] else [("plain_mean", ways["plain_mean"])]:
        said = "  ".join(f"{row['probability']:.2f}:{row['share_fake']:.2f}" for row in rows)
        error = record["calibration_error"][way]
        say("blend", f"  P(fake) : share that is fake, {way.replace('_', ' ')}, apart by {error:.3f}: {said}")
