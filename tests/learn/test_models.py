"""Detectors of timm's models: what makes them, and that they normalise by themselves."""

import json

import pytest
import timm
import torch
from torch import nn

from deepfake.errors import UserError
from deepfake.learn.models import Detector, ModelSpec, build_detector, resolve_spec

SMALL = ["test_resnet", "test_vit", "test_efficientnet"]
IMAGES = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


# --- what makes a detector


def test_what_is_not_given_is_the_models_own():
    spec = resolve_spec("test_efficientnet")
    assert spec == ModelSpec("test_efficientnet", 160, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic")


def test_what_is_given_goes_before():
    spec = resolve_spec(
        "test_resnet", image_size=64, mean=(0, 0, 0), std=(1, 1, 1), drop_rate=0.5, kwargs={"in_chans": 3}
    )
    assert spec == ModelSpec("test_resnet", 64, (0, 0, 0), (1, 1, 1), "bilinear", 0.5, {"in_chans": 3})


def test_a_tag_is_kept_and_brings_its_own_record():
    spec = resolve_spec("vit_base_patch16_clip_224.openai")
    assert spec.name.endswith(".openai")
    assert spec.mean == pytest.approx(timm.data.OPENAI_CLIP_MEAN)


def test_an_unknown_model_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"model\.name=resnet5 is not a model of timm .* Did you mean 'resnet50"):
        resolve_spec("resnet5")


def test_an_unknown_tag_is_refused_with_those_there_are():
    with pytest.raises(UserError, match=r"test_resnet\.mine: timm .* has .*r160_in1k"):
        resolve_spec("test_resnet.mine")


def test_a_spec_survives_json():
    spec = resolve_spec("test_vit", kwargs={"img_size": 64}, mean=(0.1, 0.2, 0.3))
    assert ModelSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


# --- detectors


@pytest.mark.parametrize("name", SMALL)
def test_a_detector_gives_one_logit_an_image(name):
    detector = build_detector(resolve_spec(name, image_size=64)).eval()
    with torch.inference_mode():
        logits = detector(IMAGES)
        alone = detector(IMAGES[:1])
    assert (logits.shape, logits.dtype) == ((2,), torch.float32)
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(alone, logits[:1], rtol=1e-4, atol=1e-5)


def test_a_model_of_fixed_size_is_built_for_the_size_that_is_asked_for():
    own, smaller = (build_detector(resolve_spec("test_vit", image_size=size)) for size in (0, 64))
    assert own.backbone.pos_embed.shape[1] > smaller.backbone.pos_embed.shape[1]


def test_pixels_are_normalised_by_mean_and_deviation():
    spec = ModelSpec("toy", 1, (0.5, 0.25, 0.0), (0.5, 0.25, 1.0), "bilinear")

    class Sum(nn.Module):
        def forward(self, images_NCHW):
            return images_NCHW.sum((1, 2, 3))[:, None]

    pixels = torch.tensor([255, 0, 51], dtype=torch.uint8).view(1, 3, 1, 1)
    assert float(Detector(Sum(), spec)(pixels)) == pytest.approx((1 - 0.5) / 0.5 + (0 - 0.25) / 0.25 + 0.2)


def test_normalisation_is_no_weight():
    names = set(build_detector(resolve_spec("test_resnet")).state_dict())
    assert names
    assert all(name.startswith("backbone.") for name in names)


def test_the_same_seed_gives_the_same_fresh_weights():
    def fresh(seed):
        torch.manual_seed(seed)
        return torch.cat(
            [weight.detach().flatten() for weight in build_detector(resolve_spec("test_resnet")).parameters()]
        )

    first, again, other = fresh(0), fresh(0), fresh(1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_arguments_reach_the_model():
    spec = resolve_spec("test_resnet", kwargs={"stem_width": 8, "stem_type": "deep"}, drop_rate=0.25)
    detector = build_detector(spec)
    assert isinstance(detector.backbone.conv1, nn.Sequential)
    assert detector.backbone.drop_rate == 0.25


def test_arguments_that_the_model_does_not_take_are_refused():
    with pytest.raises(UserError, match=r"model\.kwargs={'colour': 'red'}: test_resnet does not take them"):
        build_detector(resolve_spec("test_resnet", kwargs={"colour": "red"}))


@pytest.mark.parametrize("error", [OSError("no route to\nhost"), RuntimeError("No pretrained weights exist")])
def test_without_the_hub_the_message_says_what_to_give(monkeypatch, error):
    def unreachable(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(UserError, match=r"model\.weights=FILE .*model\.pretrained=false") as caught:
        build_detector(resolve_spec("test_resnet"), pretrained=True)
    assert "test_resnet" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_the_hub_fresh_weights_are_not_its_fault(monkeypatch):
    def broken(*_args, **_kwargs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(timm, "create_model", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        build_detector(resolve_spec("test_resnet"), pretrained=False)
