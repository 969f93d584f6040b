"""Logits of what is unlike the training shrink; of what is like it, they stay."""

import pytest
import torch

from deepfake.errors import UserError
from deepfake.learn.checkpoint import load_detector, save_detector
from deepfake.learn.familiarity import fit_familiarity, looked_at, looks_of, middle_stages
from deepfake.learn.golden import golden_logits
from deepfake.learn.models import build_detector, resolve_spec
from deepfake.learn.starting_weights import load_weights

SPREAD = torch.tensor([5.0, 1.0, 0.2, 0.2, 0.2, 0.2])


def embeddings(count, *, label, seed):
    """Around (0, 0, 0, …) for reals and (0, 4, 0, …) for fakes; of several deviations."""
    made = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)) * SPREAD
    made[:, 1] += 4.0 * label
    return made


def fitted(beyond=0.25):
    trained = torch.cat([embeddings(400, label=0, seed=0), embeddings(400, label=1, seed=1)])
    labels = torch.tensor([0.0] * 400 + [1.0] * 400)
    held_out = torch.cat([embeddings(200, label=0, seed=2), embeddings(200, label=1, seed=3)])
    return fit_familiarity([0, 1], trained, labels, held_out, beyond), held_out


def test_the_given_share_of_the_held_out_crops_loses_something():
    for beyond in (0.1, 0.25, 0.5):
        familiarity, held_out = fitted(beyond)
        left = familiarity(held_out)
        assert (left < 1).float().mean() == pytest.approx(beyond, abs=0.01)
        assert left.min() > 0.001


def test_distances_are_in_deviations_of_their_direction_and_from_the_nearer_class():
    familiarity, _ = fitted()
    points = torch.zeros(4, 6)
    points[1, 0], points[2, 2], points[3, 1] = 5.0, 1.0, 4.0  # one deviation, five deviations, the fakes' middle
    reals, along, across, fakes = familiarity.distances(points).tolist()
    assert reals < 0.4
    assert fakes < 0.4
    assert along == pytest.approx(1, abs=0.2)
    assert across == pytest.approx(5, rel=0.2)


def test_a_tenth_beyond_the_reach_leaves_half_and_half_as_far_again_next_to_nothing():
    familiarity, _ = fitted()
    far = torch.zeros(1, 6)
    far[0, 3] = 0.2
    far *= familiarity.reach / familiarity.distances(far)
    tenth, half = (familiarity(far * more).item() for more in (1.1, 1.5))
    assert tenth == pytest.approx(0.47, abs=0.05)
    assert half == pytest.approx(0.04, abs=0.01)


@pytest.mark.parametrize("count", [2, 3, 9])
def test_a_few_crops_of_many_dimensions_will_do(count):
    trained = torch.randn(count, 64, generator=torch.Generator().manual_seed(0))
    held_out = torch.randn(count, 64, generator=torch.Generator().manual_seed(1))
    familiarity = fit_familiarity([0, 1], trained, torch.arange(count) % 2, held_out, 0.25)
    left = familiarity(torch.cat([trained, 1e4 * trained]))
    assert torch.isfinite(left).all()
    assert (left[count:] < 1e-3).all()


def test_a_channel_that_slept_in_training_takes_nothing_when_it_stirs():
    trained = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    trained[:, 7] = 0
    familiarity = fit_familiarity([0, 1], trained, torch.arange(200) % 2, trained[:50], 0.25)
    point = torch.zeros(1, 8)
    point[0, 7] = 1e-3
    assert familiarity(point).item() == 1


@pytest.mark.parametrize("held_out", [torch.empty(0, 0), torch.full((3, 8), torch.nan)])
def test_without_crops_or_finite_numbers_nothing_is_learnt(held_out):
    with pytest.raises(ValueError, match=r"no crop|not finite"):
        fit_familiarity([0, 1], torch.ones(4, 8), torch.zeros(4), held_out, 0.25)


def test_crops_that_are_all_alike_leave_no_hole():
    familiarity = fit_familiarity([0, 1], torch.ones(8, 16), torch.zeros(8), torch.ones(4, 16), 0.25)
    assert torch.isfinite(familiarity(torch.ones(2, 16))).all()


def detector_that_doubts(name="test_resnet"):
    torch.manual_seed(0)
    detector = build_detector(resolve_spec(name, image_size=64)).eval()
    images = torch.randint(0, 256, (24, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        stages = middle_stages(detector.backbone, detector.front(images[:1]))
        looks = looked_at(detector.backbone, detector.front(images), stages)[1]
        plain = detector(images)
    detector.familiarity = fit_familiarity(stages, looks[:16], torch.arange(16) % 2, looks[16:], 0.5)
    return detector, images, plain


def test_looks_are_means_and_deviations_of_channels():
    maps = [torch.tensor([[[[1.0, 3.0]], [[5.0, 5.0]]]]), torch.full((1, 1, 2, 2), 7.0)]
    assert looks_of(maps).tolist() == [[2.0, 5.0, 1.0, 0.0, 7.0, 0.0]]


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet", "test_convnext", "test_nfnet"])
def test_a_detector_multiplies_its_logits_and_its_file_keeps_that(name, tmp_path):
    detector, images, plain = detector_that_doubts(name)
    with torch.no_grad():
        inputs = detector.front(images)
        left = detector.familiarity(looked_at(detector.backbone, inputs, detector.familiarity.indices)[1])
        logits = detector(images)
    assert left.min() < 1
    torch.testing.assert_close(logits, plain * left)
    save_detector(tmp_path / "best.safetensors", detector, {})
    again = load_detector(tmp_path / "best.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(again(images), logits)


def test_mixed_precision_leaves_distances_alone():
    familiarity, held_out = fitted()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = familiarity(held_out)
    torch.testing.assert_close(mixed, familiarity(held_out), rtol=0, atol=0)


def test_golden_logits_are_those_without_it(tmp_path):
    detector, _, _ = detector_that_doubts()
    save_detector(tmp_path / "doubts.safetensors", detector, {})
    doubting = (tmp_path / "doubts.json").read_text()
    detector.familiarity = None
    save_detector(tmp_path / "plain.safetensors", detector, {})
    assert (tmp_path / "plain.json").read_text() == doubting
    assert len(golden_logits(detector)) == 4


def test_a_doubting_file_starts_another_training(tmp_path):
    detector, images, plain = detector_that_doubts()
    save_detector(tmp_path / "best.safetensors", detector, {})
    fresh = build_detector(resolve_spec("test_resnet", image_size=64)).eval()
    load_weights(fresh, tmp_path / "best.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(fresh(images), plain)


def test_a_file_with_half_of_it_is_refused(tmp_path):
    import safetensors.torch

    detector, _, _ = detector_that_doubts()
    path = tmp_path / "best.safetensors"
    save_detector(path, detector, {})
    weights = safetensors.torch.load_file(path)
    del weights["familiarity.reach"]
    safetensors.torch.save_file(weights, path)
    with pytest.raises(UserError, match=r"best\.safetensors cannot be loaded: .*reach"):
        load_detector(path)
