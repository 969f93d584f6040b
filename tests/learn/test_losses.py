"""The losses: by hand, by order, and the same whether a batch is whole or in pieces."""

import itertools
import math

import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from deepfake.learn.losses import KINDS, sample_losses, sample_weights

LOGITS = torch.tensor([2.0, -1.0, 0.5, 3.0, -0.3, 0.0])
TARGETS = torch.tensor([1.0, 0.0, 0.3, 0.0, 1.0, 0.9])  # two are mixtures


def totals_of(targets):
    return torch.stack([(1 - targets).sum(), targets.sum()])


def loss(logits, targets, kind="bce", **settings):
    """The loss of a whole batch."""
    logits, targets = torch.as_tensor(logits), torch.as_tensor(targets)
    weights = sample_weights(targets, totals_of(targets), kind=kind)
    return float((weights * sample_losses(logits, targets, kind=kind, **settings)).sum())


def minus_log(logit):
    """-log of the probability that a logit gives to fake."""
    return math.log1p(math.exp(-logit))


# --- cross-entropy


def test_the_loss_of_no_opinion_is_ln_2():
    assert loss([0.0], [1.0]) == pytest.approx(math.log(2))
    assert loss([0.0, 0.0], [0.0, 1.0], smoothing=0.5) == pytest.approx(math.log(2))


def test_the_loss_is_the_mean_of_minus_log_likelihoods():
    assert loss([2.0, 2.0], [1.0, 0.0]) == pytest.approx((minus_log(2) + minus_log(-2)) / 2)


def test_smoothing_mixes_in_half_its_share_of_the_other_class():
    expected = 0.9 * minus_log(2) + 0.1 * minus_log(-2)
    assert loss([2.0], [1.0], smoothing=0.2) == pytest.approx(expected)
    assert loss([-2.0], [0.0], smoothing=0.2) == pytest.approx(expected)


def test_a_mixture_is_as_much_fake_as_its_target_says():
    assert loss([2.0], [0.3]) == pytest.approx(0.3 * minus_log(2) + 0.7 * minus_log(-2))


def test_with_smoothing_certainty_costs():
    best = math.log(0.95 / 0.05)
    assert loss([best], [1.0], smoothing=0.1) < min(
        loss([best + 1], [1.0], smoothing=0.1), loss([best - 1], [1.0], smoothing=0.1)
    )


# --- focal


def test_the_focal_loss_counts_a_crop_by_what_it_lacks():
    sure, wrong = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))
    expected = ((1 - sure) ** 2 * minus_log(2) + (1 - wrong) ** 2 * minus_log(-2)) / 2
    assert loss([2.0, 2.0], [1.0, 0.0], "focal") == pytest.approx(expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_the_focal_loss_of_hard_labels_is_torchvisions(gamma):
    logits, labels = torch.linspace(-15, 15, 31).repeat(2), torch.arange(62) // 31
    ours = sample_losses(logits, labels.float(), kind="focal", focal_gamma=gamma)
    torch.testing.assert_close(ours, sigmoid_focal_loss(logits, labels.float(), alpha=-1, gamma=gamma))


def test_the_focal_loss_without_focus_is_cross_entropy():
    for smoothing in (0.0, 0.2):
        plain = sample_losses(LOGITS, TARGETS, kind="bce", smoothing=smoothing)
        torch.testing.assert_close(
            sample_losses(LOGITS, TARGETS, kind="focal", focal_gamma=0.0, smoothing=smoothing), plain
        )


def test_the_focal_loss_is_that_of_smoothed_targets():
    smoothed = sample_losses(LOGITS[:1], torch.tensor([0.9]), kind="focal")
    torch.testing.assert_close(sample_losses(LOGITS[:1], torch.tensor([1.0]), kind="focal", smoothing=0.2), smoothed)


def test_focus_takes_from_the_easy_more_than_from_the_hard():
    easy, hard = (loss([logit], [1.0], "focal") / loss([logit], [1.0]) for logit in (3.0, -3.0))
    assert easy < 0.01
    assert 0.9 < hard < 1


# --- the mean of each class


def test_each_class_has_half_the_loss_however_many_it_has():
    expected = (minus_log(1) + (minus_log(0) + minus_log(2) + minus_log(-3)) / 3) / 2
    assert loss([1.0, 0.0, -2.0, 3.0], [1.0, 0.0, 0.0, 0.0], "class_mean") == pytest.approx(expected)


def test_of_even_classes_it_is_the_mean():
    logits, labels = [1.0, -2.0, 0.5, 3.0], [1.0, 0.0, 0.0, 1.0]
    assert loss(logits, labels, "class_mean", smoothing=0.1) == pytest.approx(loss(logits, labels, smoothing=0.1))


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_batch_of_one_class_keeps_its_half(label):
    logits, labels = [1.0, -2.0], [label, label]
    assert loss(logits, labels, "class_mean") == pytest.approx(loss(logits, labels) / 2)


def test_a_mixture_counts_in_both_classes_by_its_share():
    weights = sample_weights(torch.tensor([1.0, 0.25, 0.0]), torch.tensor([1.75, 1.25]), kind="class_mean")
    expected = [0.5 / 1.25, 0.5 * (0.25 / 1.25 + 0.75 / 1.75), 0.5 / 1.75]
    torch.testing.assert_close(weights, torch.tensor(expected))


def test_smoothing_changes_losses_and_not_the_classes():
    logits, labels = [1.0, 0.0, -2.0], [1.0, 0.0, 0.0]
    each = sample_losses(torch.tensor(logits), torch.tensor(labels), kind="class_mean", smoothing=0.2)
    expected = 0.5 * each[0] + 0.25 * each[1] + 0.25 * each[2]
    assert loss(logits, labels, "class_mean", smoothing=0.2) == pytest.approx(float(expected))


# --- all of them


@pytest.mark.parametrize("kind", KINDS)
def test_better_logits_have_a_lower_loss(kind):
    labels = [1.0, 0.0, 0.0]
    ordered = [loss([x, -x, -x], labels, kind) for x in (3.0, 1.0, 0.0, -1.0, -3.0)]
    assert ordered == sorted(ordered)
    assert len(set(ordered)) == 5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", [1, 3, 5])  # after the first there is no real crop
def test_a_batch_in_pieces_has_the_loss_and_gradients_of_the_whole(kind, cut):
    totals = totals_of(TARGETS)

    def backward(*pieces):
        logits = LOGITS.clone().requires_grad_()
        total = 0.0
        for piece in pieces:
            losses = sample_losses(logits[piece], TARGETS[piece], kind=kind, smoothing=0.1)
            part = (sample_weights(TARGETS[piece], totals, kind=kind) * losses).sum()
            part.backward()
            total += float(part.detach())
        return total, logits.grad

    whole, in_pieces = backward(slice(None)), backward(slice(cut), slice(cut, None))
    assert in_pieces[0] == pytest.approx(whole[0])
    torch.testing.assert_close(in_pieces[1], whole[1], rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_a_batch_add_up_to_one(kind):
    assert float(sample_weights(TARGETS, totals_of(TARGETS), kind=kind).sum()) == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
def test_huge_logits_have_finite_losses_and_gradients(kind):
    for gamma, smoothing in itertools.product((0.0, 0.5, 2.0), (0.0, 0.1)):
        case = f"gamma {gamma}, smoothing {smoothing}"
        logits = torch.tensor([1e4, -1e4, 1e4, -1e4, 1e4, 0.0], requires_grad=True)
        targets = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.5, 0.5])
        losses = sample_losses(logits, targets, kind=kind, smoothing=smoothing, focal_gamma=gamma)
        losses.sum().backward()
        assert torch.isfinite(losses).all(), case
        assert torch.isfinite(logits.grad).all(), case
        share = 1 - smoothing / 2
        assert losses[:4].tolist() == pytest.approx([1e4 * (1 - share)] * 2 + [1e4 * share] * 2, abs=1e-3), case
        assert logits.grad[:4].tolist() == pytest.approx([1 - share, share - 1, share, -share]), case


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_becomes_full(kind):
    losses = sample_losses(LOGITS.bfloat16(), TARGETS.double(), kind=kind)
    weights = sample_weights(TARGETS.double(), totals_of(TARGETS.double()), kind=kind)
    assert (losses.dtype, weights.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(losses, sample_losses(LOGITS.bfloat16().float(), TARGETS, kind=kind))
