"""A training epoch and prediction on a task that one look can solve."""

import copy

import numpy as np
import pytest
import torch

from deepfake.errors import UserError
from deepfake.learn.engine import NonFiniteLossError, Precision, choose_precision, predict, train_epoch
from deepfake.learn.models import build_detector, resolve_spec
from deepfake.learn.optim import build_optimizer, build_schedule

no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="what is chosen on a machine without CUDA")


def batches(count=4, size=8):
    """Fakes are bright, reals dark."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        labels = np.arange(size) % 2
        images = rng.integers(0, 128, (size, 3, 8, 8)) + 127 * labels[:, None, None, None]
        rows = torch.arange(number * size, (number + 1) * size)
        made.append((torch.tensor(images, dtype=torch.uint8), torch.tensor(labels, dtype=torch.float32), rows))
    return made


def train(detector, made, precision, *, epochs=1, lr=0.01, **settings):
    optimizer = build_optimizer(detector, lr=lr, weight_decay=0.0)
    schedule = build_schedule(optimizer, total_steps=epochs * len(made), warmup=0.0)
    settings = {"label_smoothing": 0.0} | settings
    scaler = precision.scaler()
    return [
        train_epoch(detector, made, optimizer, schedule, scaler, precision=precision, **settings) for _ in range(epochs)
    ]


def test_a_task_that_can_be_learnt_is_learnt(toy, cpu):
    losses = train(toy, batches(), cpu, epochs=6)
    assert losses[0] > 0.3
    assert losses[-1] < 0.1
    logits = predict(toy, batches(), views=["identity"], precision=cpu)[:, 0]
    assert ((logits > 0) == (np.arange(32) % 2 == 1)).all()


def test_a_real_model_learns_it_too(cpu):
    torch.manual_seed(0)
    detector = build_detector(resolve_spec("test_resnet", image_size=8))
    losses = train(detector, batches(), cpu, epochs=3, lr=0.003)
    assert losses[-1] < losses[0]


def test_the_loss_of_an_epoch_is_the_mean_of_its_steps(toy, cpu):
    torch.nn.init.zeros_(toy.backbone[1].weight)
    torch.nn.init.zeros_(toy.backbone[1].bias)
    assert train(toy, batches(), cpu, lr=0.0) == [pytest.approx(np.log(2), abs=1e-6)]


def test_each_step_is_told_and_moves_the_schedule(toy, cpu):
    counts = []
    optimizer = build_optimizer(toy, lr=1.0, weight_decay=0.0)
    schedule = build_schedule(optimizer, total_steps=4, warmup=0.0)
    settings = {"precision": cpu, "label_smoothing": 0.0, "on_step": counts.append}
    train_epoch(toy, batches(2), optimizer, schedule, cpu.scaler(), **settings)
    assert counts == [8, 8]
    assert schedule.get_last_lr() == pytest.approx([0.5, 0.5])


def test_the_same_start_and_batches_give_the_same_weights(toy, cpu):
    twin = copy.deepcopy(toy)
    assert train(toy, batches(), cpu, epochs=2) == train(twin, batches(), cpu, epochs=2)
    assert torch.equal(toy.backbone[1].weight, twin.backbone[1].weight)


def test_a_loss_that_is_not_finite_stops_before_a_weight_changes(toy, cpu):
    toy.backbone[1].bias.data.fill_(float("nan"))
    before = toy.backbone[1].weight.detach().clone()
    optimizer = build_optimizer(toy, lr=0.1, weight_decay=0.1)
    schedule = build_schedule(optimizer, total_steps=4, warmup=0.0)
    with pytest.raises(NonFiniteLossError, match="not finite in a batch of 8 crops") as caught:
        train_epoch(toy, batches()[1:], optimizer, schedule, cpu.scaler(), precision=cpu, label_smoothing=0.0)
    assert caught.value.rows == list(range(8, 16))
    assert torch.equal(toy.backbone[1].weight, before)
    assert schedule.get_last_lr() == [0.1, 0.1]


def test_training_and_prediction_switch_dropout_and_norms(cpu):
    torch.manual_seed(0)
    detector = build_detector(resolve_spec("test_resnet", image_size=8, drop_rate=0.5))
    train(detector, batches(1), cpu, lr=0.0)
    assert detector.training
    first, again = (predict(detector, batches(1), views=["identity"], precision=cpu) for _ in range(2))
    assert not detector.training
    np.testing.assert_array_equal(first, again)


# --- prediction


def test_a_mirrored_view_is_the_prediction_of_mirrored_images(toy, cpu):
    mirrored = [(images.flip(3), labels, rows) for images, labels, rows in batches()]
    both = predict(toy, batches(), views=["identity", "hflip"], precision=cpu)
    flipped = predict(toy, mirrored, views=["identity"], precision=cpu)
    assert (both.shape, both.dtype) == ((32, 2), np.float32)
    np.testing.assert_allclose(both[:, 1], flipped[:, 0], rtol=1e-5, atol=1e-6)
    assert np.abs(both[:, 0] - both[:, 1]).max() > 1e-3


def test_the_size_of_batches_changes_no_logit(toy, cpu):
    (images, labels, rows) = batches(1)[0]
    ones = [(images[n : n + 1], labels[n : n + 1], rows[n : n + 1]) for n in range(8)]
    together = predict(toy, batches(1), views=["identity"], precision=cpu)
    np.testing.assert_allclose(predict(toy, ones, views=["identity"], precision=cpu), together, rtol=1e-5, atol=1e-6)


def test_the_prediction_of_nothing_has_no_rows(toy, cpu):
    assert predict(toy, [], views=["identity", "hflip"], precision=cpu).shape == (0, 2)


def test_prediction_tells_how_many_crops_it_did(toy, cpu):
    counts = []
    predict(toy, batches(3), views=["identity"], precision=cpu, on_step=counts.append)
    assert counts == [8, 8, 8]


# --- precision


@no_cuda
@pytest.mark.parametrize(("amp", "dtype"), [("auto", None), ("off", None), ("bf16", torch.bfloat16)])
def test_without_cuda_auto_is_full_precision(amp, dtype):
    assert choose_precision(amp) == Precision(torch.device("cpu"), dtype)


@no_cuda
def test_fp16_without_cuda_is_refused_with_what_is_allowed():
    with pytest.raises(UserError, match=r"train\.amp=fp16 needs a CUDA device; on a CPU: auto, bf16 or off"):
        choose_precision("fp16")


def test_gradients_are_scaled_for_fp16_alone():
    scaled = [Precision(torch.device("cpu"), dtype).scaler().is_enabled() for dtype in (None, torch.bfloat16)]
    assert scaled == [False, False]
    assert Precision(torch.device("cpu"), torch.float16).scaler().is_enabled()


def test_half_precision_gives_nearly_the_same_float32_logits(toy, cpu):
    full = predict(toy, batches(), views=["identity"], precision=cpu)
    half = predict(toy, batches(), views=["identity"], precision=Precision(torch.device("cpu"), torch.bfloat16))
    assert half.dtype == np.float32
    assert 0 < np.abs(half - full).max() < 0.05
