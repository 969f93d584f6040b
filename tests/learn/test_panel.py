"""Models side by side: each says what it says alone, and crops are read no oftener than needed."""

from collections import Counter

import numpy as np
import pytest
import torch

from deepfake.errors import UserError
from deepfake.learn import panel as panel_module
from deepfake.learn.checkpoint import golden_images, load_detector, save_detector
from deepfake.learn.dataset import CropDataset, ordered_loader
from deepfake.learn.engine import NonFiniteError, predict
from deepfake.learn.models import build_detector, resolve_spec
from deepfake.learn.panel import Panel, _shares

VIEWS = ["identity", "hflip", "five_crop"]


def certain(**given):
    """A detector whose logits are several units large, as after training."""
    detector = build_detector(resolve_spec("test_efficientnet", **given)).eval()
    with torch.no_grad():
        detector.backbone.get_classifier().weight *= 5 / detector(golden_images(given["image_size"])).std()
    return detector


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Three detectors, of which the first and the last want the same pixels, and the second smaller ones."""
    folder, paths = tmp_path_factory.mktemp("weights"), []
    for seed, image_size in enumerate((48, 32, 48)):
        torch.manual_seed(seed)
        detector = certain(image_size=image_size)
        paths.append(folder / f"{seed}.safetensors")
        save_detector(paths[-1], detector, {})
    return paths


@pytest.fixture
def crops(save_crops):
    """Seven of noise, of several sizes."""
    rng = np.random.default_rng(0)
    return save_crops([rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for side in (48, 40, 64, 32, 48, 50, 20)])


@pytest.fixture
def reads(monkeypatch):
    """How often each crop was read in each size."""
    counts, load_crop = Counter(), panel_module.load_crop

    def counting(path, image_size, interpolation, **given):
        counts[path.name, image_size] += 1
        return load_crop(path, image_size, interpolation, **given)

    monkeypatch.setattr(panel_module, "load_crop", counting)
    return counts


@pytest.fixture
def open_panel(weights, cpu):
    def opened(batch_size=4, paths=weights):
        return Panel(paths, cpu, batch_size=batch_size, num_threads=2)

    return opened


def alone(path, crops, precision, views):
    """What a detector says by itself."""
    detector = load_detector(path)
    spec = detector.spec
    data = CropDataset(crops, image_size=spec.image_size, interpolation=spec.interpolation, resize=spec.resize)
    batches = ordered_loader(data, batch_size=4, num_workers=0)
    return predict(detector, batches, views=views, precision=precision)


def test_each_model_says_what_it_says_alone(open_panel, weights, crops, cpu):
    logits = open_panel().score(crops, views=VIEWS, members=3)
    assert (logits.shape, logits.dtype) == ((7, 3, 3), np.float32)
    for number, path in enumerate(weights):
        np.testing.assert_allclose(logits[:, number], alone(path, crops, cpu, VIEWS), rtol=1e-4, atol=1e-5)
    assert min(np.abs(logits[:, one] - logits[:, other]).max() for one, other in ((0, 1), (0, 2), (1, 2))) > 0.1
    assert np.ptp(logits, axis=0).min() > 0.1


def test_a_model_that_keeps_the_size_of_pixels_does_so_among_others(tmp_path, weights, crops, cpu):
    torch.manual_seed(7)
    save_detector(tmp_path / "cutting.safetensors", certain(image_size=48, resize=False), {})
    paths = [weights[0], tmp_path / "cutting.safetensors"]
    logits = Panel(paths, cpu, batch_size=4, num_threads=1).score(crops, views=["identity"], members=2)
    for number, path in enumerate(paths):
        np.testing.assert_allclose(logits[:, number], alone(path, crops, cpu, ["identity"]), rtol=1e-4, atol=1e-5)


def test_a_crop_is_read_once_for_all_models_that_want_the_same_pixels(open_panel, crops, reads):
    open_panel().score(crops, views=VIEWS, members=3)
    assert reads == {(path.name, size): 1 for path in crops for size in (48, 32)}


@pytest.mark.parametrize("members", [1, 2])
def test_fewer_models_say_the_same_and_nothing_is_read_for_the_others(open_panel, crops, reads, members):
    panel = open_panel()
    logits = panel.score(crops, views=["identity"], members=members)
    assert {size for _, size in reads} == {48, 32}.intersection((48, 32)[:members])
    whole = panel.score(crops, views=["identity"], members=3)
    np.testing.assert_allclose(logits, whole[:, :members], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_batches_of_any_size_give_the_same(open_panel, crops, reads, batch_size):
    """Of 7 crops; the last batch of 3 is one crop."""
    logits = open_panel(batch_size).score(crops, views=["identity"], members=3)
    assert set(reads.values()) == {1}
    np.testing.assert_allclose(logits, open_panel(4).score(crops, views=["identity"], members=3), rtol=1e-4, atol=1e-5)


def test_no_crops_have_no_logits(open_panel):
    assert open_panel().score([], views=VIEWS, members=2).shape == (0, 2, 3)


@pytest.mark.parametrize("number", [0, 6])
def test_a_broken_crop_is_named(open_panel, crops, number):
    """Also where it was read ahead."""
    crops[number].write_bytes(b"no picture")
    with pytest.raises(UserError, match=rf"{number}\.png is missing or broken"):
        open_panel().score(crops, views=["identity"], members=3)


def test_a_crop_whose_logit_is_not_finite_is_numbered(open_panel, crops):
    panel = open_panel(batch_size=2)
    head = panel.detectors[1].backbone.get_classifier()
    head.register_forward_hook(lambda _, given, made: torch.where(made == made.max(), torch.nan, made))  # one a batch
    with pytest.raises(NonFiniteError) as caught:
        panel.score(crops, views=["identity"], members=2)
    assert [row // 2 for row in caught.value.rows] == [0, 1, 2, 3]
    assert panel.score(crops, views=["identity"], members=1).shape == (7, 1, 1)


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
def test_models_that_take_turns_say_the_same(open_panel, crops, reads, monkeypatch, shares):
    together = open_panel().score(crops, views=VIEWS, members=3)
    weight_bytes = sum(weight.nbytes for weight in open_panel().detectors[0].parameters())
    monkeypatch.setattr(panel_module, "_free_bytes", lambda precision: len(shares[0]) * weight_bytes)
    panel = open_panel()
    assert panel.shares == shares
    reads.clear()
    np.testing.assert_allclose(panel.score(crops, views=VIEWS, members=3), together, rtol=1e-4, atol=1e-5)
    assert reads == {(path.name, side): times for path in crops for side, times in ((48, 2), (32, 1))}
    np.testing.assert_allclose(panel.score(crops, views=VIEWS, members=1), together[:, :1], rtol=1e-4, atol=1e-5)


def test_a_missing_weight_file_is_a_users_error(open_panel, weights):
    with pytest.raises(UserError, match=r"gone\.safetensors cannot be loaded"):
        open_panel(paths=[*weights, weights[0].with_name("gone.safetensors")])
