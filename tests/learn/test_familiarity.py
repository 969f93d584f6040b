"""Logits of what is unlike the training shrink; of what is like it, they stay."""

import pytest
import torch

from deepfake.errors import UserError
from deepfake.learn.checkpoint import load_detector, save_detector
from deepfake.learn.familiarity import fit_familiarity
from deepfake.learn.golden import golden_logits
from deepfake.learn.models import build_detector, resolve_spec
from deepfake.learn.starting_weights import load_weights

SPREAD = torch.tensor([5.0, 1.0, 0.2, 0.2, 0.2, 0.2])


def embeddings(count, *, label, seed):
    """Around (0, 0, 0, …) for reals and (0, 4, 0, …) for fakes, mostly along the first direction."""
    made = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)) * SPREAD
    made[:, 1] += 4.0 * label
    return made


def fitted(beyond=0.25):
    trained = torch.cat([embeddings(400, label=0, seed=0), embeddings(400, label=1, seed=1)])
    labels = torch.tensor([0.0] * 400 + [1.0] * 400)
    held_out = torch.cat([embeddings(200, label=0, seed=2), embeddings(200, label=1, seed=3)])
    return fit_familiarity(trained, labels, held_out, beyond), held_out


def test_the_given_share_of_the_held_out_crops_loses_something():
    for beyond in (0.1, 0.25, 0.5):
        familiarity, held_out = fitted(beyond)
        left = familiarity(held_out)
        assert (left < 1).float().mean() == pytest.approx(beyond, abs=0.01)
        assert left.min() > 0.05


def test_distances_are_in_deviations_of_their_direction_and_from_the_nearer_class():
    familiarity, _ = fitted()
    points = torch.zeros(4, 6)
    points[1, 0], points[2, 2], points[3, 1] = 5.0, 1.0, 4.0  # one deviation, five deviations, the fakes' middle
    reals, along, across, fakes = familiarity.distances(points).tolist()
    assert reals < 0.4
    assert fakes < 0.4
    assert along == pytest.approx(1, abs=0.2)
    assert across == pytest.approx(5, rel=0.2)


def test_twice_the_reach_leaves_a_quarter():
    familiarity, _ = fitted()
    far = torch.zeros(1, 6)
    far[0, 3] = 0.2
    far *= 2 * familiarity.reach / familiarity.distances(far)
    assert familiarity(far).item() == pytest.approx(0.25, rel=0.05)


@pytest.mark.parametrize("count", [2, 3, 9])
def test_a_few_crops_of_many_dimensions_will_do(count):
    trained = torch.randn(count, 64, generator=torch.Generator().manual_seed(0))
    familiarity = fit_familiarity(trained, torch.arange(count) % 2, torch.empty(0, 0), 0.25)
    left = familiarity(torch.cat([trained, 1e4 * trained]))
    assert torch.isfinite(left).all()
    assert (left[count:] < 1e-3).all()


def test_crops_that_are_all_alike_leave_no_hole():
    familiarity = fit_familiarity(torch.ones(8, 16), torch.zeros(8), torch.ones(4, 16), 0.25)
    assert torch.isfinite(familiarity(torch.ones(2, 16))).all()


def detector_that_doubts():
    torch.manual_seed(0)
    detector = build_detector(resolve_spec("test_resnet", image_size=64)).eval()
    images = torch.randint(0, 256, (24, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        trained = detector.embed(images)
        plain = detector(images)
    detector.familiarity = fit_familiarity(trained[:16], torch.arange(16) % 2, 3 * trained[16:], 0.5)
    return detector, images, plain


def test_a_detector_multiplies_its_logits_and_its_file_keeps_that(tmp_path):
    detector, images, plain = detector_that_doubts()
    with torch.no_grad():
        left = detector.familiarity(detector.embed(images))
        logits = detector(images)
    torch.testing.assert_close(logits, plain * left)
    save_detector(tmp_path / "best.safetensors", detector, {})
    again = load_detector(tmp_path / "best.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(again(images), logits)


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
