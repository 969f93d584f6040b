"""Models side by side: each says what it says alone, and crops are read no oftener than needed."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch

from deepfake.errors import UserError
from deepfake.learn import predictor as predictor_module
from deepfake.learn.checkpoint import load_detector, save_detector
from deepfake.learn.data import CropDataset, ordered_loader
from deepfake.learn.engine import NonFiniteError, predict
from deepfake.learn.golden import golden_images
from deepfake.learn.models import build_detector, resolve_spec
from deepfake.learn.predictor import Predictor, Preparation, _shares
from deepfake.learn.windows import windows

VIEWS = ["identity", "hflip", "five_crop"]


def certain(**given):
    """A detector whose logits are several units large, as after training."""
    detector = build_detector(resolve_spec("test_efficientnet", **given)).eval()
    with torch.no_grad():
        detector.backbone.get_classifier().weight *= 5 / detector(golden_images(given["image_size"])).std()
    return detector


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Three detectors: the first and the last want the same pixels, the second a smaller crop."""
    folder, paths = tmp_path_factory.mktemp("weights"), []
    for seed, image_size in enumerate((48, 32, 48)):
        torch.manual_seed(seed)
        detector = certain(image_size=image_size)
        paths.append(folder / f"{seed}.safetensors")
        save_detector(paths[-1], detector, {})
    return paths


@pytest.fixture
def images():
    """Seven of noise, of several sizes."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for side in (48, 40, 64, 32, 48, 50, 20)]


@pytest.fixture
def crops(save_crops, images):
    return save_crops(images)


@pytest.fixture
def reads(monkeypatch):
    """How often each crop was read in each size."""
    counts, load_crop = Counter(), predictor_module.load_crop

    def counting(path, image_size, interpolation, **given):
        counts[path.name, image_size] += 1
        return load_crop(path, image_size, interpolation, **given)

    monkeypatch.setattr(predictor_module, "load_crop", counting)
    return counts


@pytest.fixture
def open_predictor(weights, cpu):
    def opened(batch_size=4, paths=weights):
        return Predictor(paths, cpu, batch_size=batch_size, num_threads=2)

    return opened


def alone(path, crops, precision, views):
    """What a detector says by itself."""
    detector = load_detector(path)
    spec = detector.spec
    data = CropDataset(crops, **dataclasses.asdict(Preparation.of(spec)))
    batches = ordered_loader(data, batch_size=4, num_workers=0)
    return predict(detector, batches, views=views, precision=precision)


def test_each_model_says_what_it_says_alone(open_predictor, weights, crops, cpu):
    logits = open_predictor().score(crops, views=VIEWS, members=3)
    assert (logits.shape, logits.dtype) == ((7, 3, 3), np.float32)
    for number, path in enumerate(weights):
        np.testing.assert_allclose(logits[:, number], alone(path, crops, cpu, VIEWS), rtol=1e-4, atol=1e-5)
    assert min(np.abs(logits[:, one] - logits[:, other]).max() for one, other in ((0, 1), (0, 2), (1, 2))) > 0.1
    assert np.ptp(logits, axis=0).min() > 0.1


def test_a_model_that_keeps_the_size_of_pixels_does_so_among_others(tmp_path, weights, crops, cpu):
    torch.manual_seed(7)
    save_detector(tmp_path / "unresized.safetensors", certain(image_size=48, resize=False), {})
    paths = [weights[0], tmp_path / "unresized.safetensors"]
    logits = Predictor(paths, cpu, batch_size=4, num_threads=1).score(crops, views=["identity"], members=2)
    for number, path in enumerate(paths):
        np.testing.assert_allclose(logits[:, number], alone(path, crops, cpu, ["identity"]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("choice", ["spread", "texture"])
def test_logits_of_windows_are_averaged_wherever_crops_are_scored(tmp_path, images, crops, cpu, choice):
    """From files, from arrays and out of fold; beside a model that sees one window."""
    made = {}
    for count in (1, 5):
        torch.manual_seed(7)
        given = {"windows": count, "window_choice": choice}
        made[count] = certain(image_size=32, resize=False, **given)
        save_detector(tmp_path / f"{count}.safetensors", made[count], {})
    paths = [tmp_path / "5.safetensors", tmp_path / "1.safetensors"]
    predictor = Predictor(paths, cpu, batch_size=6, num_threads=2)
    logits = predictor.score(crops, views=VIEWS, members=2)
    assert np.array_equal(predictor.score_arrays(images, views=VIEWS, members=2), logits)
    for number, path in enumerate(paths):
        np.testing.assert_allclose(logits[:, number], alone(path, crops, cpu, VIEWS), rtol=1e-4, atol=1e-5)
    for row, image in enumerate(images):
        shown = windows(image, 32, 5, choice)
        each = Predictor(paths[1:], cpu, batch_size=4, num_threads=1)
        of_windows = each.score_arrays(list(shown), views=VIEWS, members=1)[:, 0]
        np.testing.assert_allclose(logits[row, 0], of_windows.mean(0), rtol=1e-4, atol=1e-5)
    assert np.abs(logits[:, 0] - logits[:, 1]).max() > 0.1


def test_no_batch_is_larger_than_it_may_be_whatever_the_windows(tmp_path, images, cpu, monkeypatch):
    save_detector(tmp_path / "w.safetensors", certain(image_size=16, resize=False, windows=9), {})
    predictor, sizes = Predictor([tmp_path / "w.safetensors"], cpu, batch_size=10, num_threads=1), []
    monkeypatch.setattr(
        predictor.detectors[0], "forward", lambda shown: sizes.append(len(shown)) or torch.zeros(len(shown))
    )
    predictor.score_arrays(images, views=["identity"], members=1)
    assert sizes == [10] * 6 + [3]


def test_a_crop_is_read_once_for_all_models_that_want_the_same_pixels(open_predictor, crops, reads):
    open_predictor().score(crops, views=VIEWS, members=3)
    assert reads == {(path.name, size): 1 for path in crops for size in (48, 32)}


@pytest.mark.parametrize("members", [1, 2])
def test_fewer_models_say_the_same_and_nothing_is_read_for_the_others(open_predictor, crops, reads, members):
    predictor = open_predictor()
    logits = predictor.score(crops, views=["identity"], members=members)
    assert {size for _, size in reads} == {48, 32}.intersection((48, 32)[:members])
    whole = predictor.score(crops, views=["identity"], members=3)
    np.testing.assert_allclose(logits, whole[:, :members], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_batches_of_any_size_give_the_same(open_predictor, crops, reads, batch_size):
    """Of 7 crops; the last batch of 3 is one crop."""
    logits = open_predictor(batch_size).score(crops, views=["identity"], members=3)
    assert set(reads.values()) == {1}
    np.testing.assert_allclose(
        logits, open_predictor(4).score(crops, views=["identity"], members=3), rtol=1e-4, atol=1e-5
    )


def test_arrays_have_the_logits_of_the_same_pixels_in_files(tmp_path, weights, images, crops, cpu):
    torch.manual_seed(7)
    save_detector(tmp_path / "cropping.safetensors", certain(image_size=48, resize=False), {})
    paths = [*weights, tmp_path / "cropping.safetensors"]
    predictor = Predictor(paths, cpu, batch_size=4, num_threads=2)
    expected = predictor.score(crops, views=VIEWS, members=4)
    assert np.array_equal(predictor.score_arrays(images, views=VIEWS, members=4), expected)
    backwards = [image[:, ::-1].copy()[:, ::-1] for image in images]
    transposed = [image.transpose(1, 0, 2).copy().transpose(1, 0, 2) for image in images]
    for arrays in (backwards, transposed):  # the same pixels, in another order in memory
        assert np.array_equal(predictor.score_arrays(arrays, views=VIEWS, members=4), expected)
    assert predictor.score_arrays([], views=VIEWS, members=2).shape == (0, 2, 3)


def test_an_array_whose_logit_is_not_finite_is_numbered(open_predictor, images):
    predictor = open_predictor(batch_size=1)
    predictor.detectors[0].backbone.get_classifier().register_forward_hook(lambda _, given, made: made * torch.nan)
    with pytest.raises(NonFiniteError) as caught:
        predictor.score_arrays(images, views=["identity"], members=1)
    assert caught.value.rows == list(range(7))


def test_no_crops_have_no_logits(open_predictor):
    assert open_predictor().score([], views=VIEWS, members=2).shape == (0, 2, 3)


@pytest.mark.parametrize("number", [0, 6])
def test_a_broken_crop_is_named(open_predictor, crops, number):
    """Also where it was read ahead."""
    crops[number].write_bytes(b"no picture")
    with pytest.raises(UserError, match=rf"{number}\.png is missing or broken"):
        open_predictor().score(crops, views=["identity"], members=3)


def test_a_crop_whose_logit_is_not_finite_is_numbered(open_predictor, crops):
    predictor = open_predictor(batch_size=2)
    head = predictor.detectors[1].backbone.get_classifier()
    head.register_forward_hook(lambda _, given, made: torch.where(made == made.max(), torch.nan, made))  # one a batch
    with pytest.raises(NonFiniteError) as caught:
        predictor.score(crops, views=["identity"], members=2)
    assert [row // 2 for row in caught.value.rows] == [0, 1, 2, 3]
    assert predictor.score(crops, views=["identity"], members=1).shape == (7, 1, 1)


@pytest.mark.parametrize(
    ("sizes", "room", "expected"),
    [
        ([3, 3, 3], 9, [[0, 1, 2]]),
        ([3, 3, 3], 8, [[0, 1], [2]]),
        ([3, 1, 1, 3], 4, [[0, 1], [2, 3]]),
        ([9, 1, 1, 9], 4, [[0], [1, 2], [3]]),  # one that is too large for the room goes by itself
        ([3, 3], 0, [[0], [1]]),
        ([3, 3], float("inf"), [[0, 1]]),
        ([], 4, []),
    ],
)
def test_models_share_the_room_in_their_order(sizes, room, expected):
    assert _shares(sizes, room) == expected


@pytest.mark.parametrize("shares", [[[0], [1], [2]], [[0, 1], [2]]])
def test_models_that_take_turns_say_the_same(open_predictor, crops, reads, monkeypatch, shares):
    together = open_predictor().score(crops, views=VIEWS, members=3)
    weight_bytes = sum(weight.nbytes for weight in open_predictor().detectors[0].parameters())
    monkeypatch.setattr(predictor_module, "_free_bytes", lambda precision: len(shares[0]) * weight_bytes)
    predictor = open_predictor()
    assert predictor.shares == shares
    reads.clear()
    np.testing.assert_allclose(predictor.score(crops, views=VIEWS, members=3), together, rtol=1e-4, atol=1e-5)
    assert reads == {(path.name, side): times for path in crops for side, times in ((48, 2), (32, 1))}
    np.testing.assert_allclose(predictor.score(crops, views=VIEWS, members=1), together[:, :1], rtol=1e-4, atol=1e-5)


def test_a_missing_weight_file_is_a_users_error(open_predictor, weights):
    with pytest.raises(UserError, match=r"gone\.safetensors cannot be loaded"):
        open_predictor(paths=[*weights, weights[0].with_name("gone.safetensors")])
