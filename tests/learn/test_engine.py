"""Prediction, and where and how it is computed."""

import numpy as np
import pytest
import torch

from deepfake.errors import UserError
from deepfake.learn.engine import NonFiniteError, Precision, choose_precision, predict
from deepfake.learn.models import build_detector, resolve_spec

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


def test_prediction_switches_dropout_and_norms_off(cpu):
    torch.manual_seed(0)
    detector = build_detector(resolve_spec("test_resnet", image_size=8, drop_rate=0.5)).train()
    first, again = (predict(detector, batches(1), views=["identity"], precision=cpu) for _ in range(2))
    assert not detector.training
    np.testing.assert_array_equal(first, again)


def test_a_logit_that_is_not_finite_names_its_rows(toy, cpu):
    toy.backbone[1].bias.data.fill_(float("inf"))
    with pytest.raises(NonFiniteError, match="a logit is not finite in a batch of 8 crops") as caught:
        predict(toy, batches()[1:], views=["identity"], precision=cpu)
    assert caught.value.rows == list(range(8, 16))


# --- precision


@no_cuda
@pytest.mark.parametrize(("amp", "dtype"), [("auto", None), ("off", None), ("bf16", torch.bfloat16)])
def test_without_cuda_auto_is_full_precision(amp, dtype):
    assert choose_precision(amp) == Precision(torch.device("cpu"), dtype, channels_last=True)


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


@pytest.mark.parametrize("channels_last", [True, False])
def test_weights_and_images_are_placed_in_the_same_memory_format(channels_last):
    precision = choose_precision("off", channels_last=channels_last)
    detector = precision.place(build_detector(resolve_spec("test_resnet", image_size=8)))
    images = precision.send(batches(1)[0][0])
    for tensor in (images, detector.backbone.conv1[0].weight):
        assert tensor.is_contiguous(memory_format=precision.memory_format)
