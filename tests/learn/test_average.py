"""Means of weights."""

import pytest
import torch

from deepfake.learn.average import WeightMean
from deepfake.learn.models import build_detector, resolve_spec


def test_the_mean_of_three_moments_is_their_mean(toy):
    mean, seen = WeightMean(toy), []
    for value in (1.0, 2.0, 6.0):
        with torch.no_grad():
            toy.backbone[1].weight.fill_(value)
        mean.add(toy)
        seen.append(float(mean.module.backbone[1].weight.mean()))
    assert seen == pytest.approx([1, 1.5, 3])


def test_of_one_moment_it_is_the_model_to_the_bit_and_the_model_stays_its_own():
    detector = build_detector(resolve_spec("test_resnet", image_size=32))
    mean = WeightMean(detector)
    with torch.no_grad():
        for value in detector.parameters():
            value.add_(0.1)
    mean.add(detector)
    pairs = zip(mean.module.state_dict().values(), detector.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert all(weight.requires_grad for weight in detector.parameters())
