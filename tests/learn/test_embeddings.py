"""Embeddings: mixtures of fakes and reals, and two views, with numbers small enough for paper."""

import math

import pytest
import torch

from deepfake.errors import UserError
from deepfake.learn.embeddings import LEAST_FAKE, check_embeds, disagreement, mix_fakes, two_views
from deepfake.learn.mix import mix_batch
from deepfake.learn.models import build_detector, resolve_spec

MODELS = ["test_resnet", "test_vit", "test_efficientnet", "test_convnext", "test_nfnet", "mobilenetv3_small_050"]


@pytest.mark.parametrize("name", MODELS)
def test_classifying_what_is_embedded_is_the_whole_model(name):
    detector = build_detector(resolve_spec(name, image_size=64)).eval()
    check_embeds(detector)
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        embeddings = detector.embed(images)
        assert embeddings.ndim == 2
        assert torch.equal(detector.classify(embeddings), detector(images))


def test_a_model_of_two_classifiers_is_refused():
    detector = build_detector(resolve_spec("deit_tiny_distilled_patch16_224", image_size=224))
    with pytest.raises(UserError, match=r"model\.name=deit_tiny_distilled_patch16_224 has no single classifier"):
        check_embeds(detector)


def embeddings(targets):
    """Reals at (1, 0), fakes at (0, 1), whatever is between at (0, 0)."""
    return torch.tensor([[float(target == 0), float(target == 1)] for target in targets])


def test_fakes_are_mixed_with_reals_and_nothing_else_is():
    targets = torch.tensor([0.0, 1, 0, 1, 0.3, 1])
    torch.manual_seed(0)
    mixed = mix_fakes(embeddings(targets), targets, 1.0)
    still = targets != 1
    assert torch.equal(mixed[still], embeddings(targets)[still])
    of_real, of_fake = mixed[~still].T
    assert torch.allclose(of_real + of_fake, torch.ones(3))
    assert (of_fake >= LEAST_FAKE).all() and (of_fake < 1).all() and len(set(of_fake.tolist())) == 3


def test_so_many_are_mixed_as_is_likely():
    targets = torch.tensor([0.0, 1]).repeat(500)
    torch.manual_seed(0)
    mixed = mix_fakes(embeddings(targets), targets, 0.4)
    assert float((mixed[targets == 1][:, 0] > 0).float().mean()) == pytest.approx(0.4, abs=0.08)


@pytest.mark.parametrize("targets", [[1.0, 1.0], [0.0, 0.0], [0.5, 1.0]])
def test_without_both_classes_nothing_is_mixed(targets):
    targets = torch.tensor(targets)
    assert torch.equal(mix_fakes(embeddings(targets), targets, 1.0), embeddings(targets))


def test_two_views_are_mixed_alike():
    targets = torch.tensor([0.0, 1, 1, 0]).repeat(2)
    given = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)).repeat(2, 1)
    mixed = mix_fakes(given, targets, 1.0, views=2)
    assert torch.equal(mixed[:4], mixed[4:]) and not torch.equal(mixed[:4], given[:4])


def test_views_that_agree_do_not_disagree_and_opposite_ones_do():
    logits = torch.tensor([2.0, 0.0, 2.0, math.log(3)])  # P(fake) .5 and .75: (.25 x log 3) / 2
    same, across = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    apart = disagreement(logits, torch.cat([same, same, same, across]))
    assert apart.tolist() == pytest.approx([0, 1 + 0.25 * math.log(3) / 2], abs=1e-6)


def test_views_stand_one_after_the_other_also_when_crops_are_mixed():
    clean = torch.full((2, 3, 4, 4), 10, dtype=torch.uint8)
    both = torch.cat([clean, clean + 90], 1)
    views = two_views(both, torch.contiguous_format)
    assert views.shape == (4, 3, 4, 4) and views[:2].unique().tolist() == [10] and views[2:].unique().tolist() == [100]
    torch.manual_seed(0)
    mixed, _ = mix_batch(both, torch.tensor([0.0, 1.0]), mixup=0.4, cutmix=0.0)
    assert two_views(mixed, torch.contiguous_format)[:2].unique().tolist() == pytest.approx([10])
