"""Detectors of timm's models: what makes them, and that they normalise by themselves."""

import copy
import json

import pytest
import timm
import torch
from torch import nn

from deepfake.errors import UserError
from deepfake.learn.models import Detector, ModelSpec, build_detector, in_full_precision, resolve_spec

SMALL = ["test_resnet", "test_vit", "test_efficientnet"]
IMAGES = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


# --- what makes a detector


def test_what_is_not_given_is_the_models_own():
    spec = resolve_spec("test_efficientnet")
    assert spec == ModelSpec("test_efficientnet", 160, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic")


def test_what_is_given_goes_before():
    spec = resolve_spec(
        "test_resnet",
        image_size=64,
        mean=(0, 0, 0),
        std=(1, 1, 1),
        resize=False,
        drop_rate=0.5,
        drop_path_rate=0.2,
        kwargs={"in_chans": 3},
    )
    assert spec == ModelSpec("test_resnet", 64, (0, 0, 0), (1, 1, 1), "bilinear", False, 0.5, 0.2, {"in_chans": 3})


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
    spec = resolve_spec("test_vit", kwargs={"img_size": 64}, mean=(0.1, 0.2, 0.3), resize=False, drop_path_rate=0.1)
    assert ModelSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 3}, "size is unknown"),
        ({"name": None}, "name=None"),
        ({"image_size": "64"}, "image_size='64'"),
        ({"mean": [0.5, 0.5]}, r"mean=\[0\.5, 0\.5\]"),
        ({"std": ["1", "1", "1"]}, "std="),
        ({"kwargs": None}, "kwargs=None"),
        ({"windows": "5"}, "windows='5'"),
        ({"window_choice": "random"}, "window_choice='random'"),
        ({"front": "rgb+ela"}, r"front='rgb\+ela'"),
    ],
)
def test_what_is_no_spec_is_refused_by_what_is_wrong_in_it(change, message):
    with pytest.raises(ValueError, match=message):
        ModelSpec.from_json(resolve_spec("test_resnet").to_json() | change)


def test_what_is_half_a_spec_or_none_is_refused():
    whole = resolve_spec("test_resnet").to_json()
    for key in whole.keys() - {"resize", "drop_path_rate", "windows", "window_choice", "front"}:
        with pytest.raises(ValueError, match=f"{key} is missing"):
            ModelSpec.from_json({name: value for name, value in whole.items() if name != key})
    with pytest.raises(ValueError, match="a list"):
        ModelSpec.from_json([])


def test_a_spec_of_before_the_latest_fields_is_read():
    spec = resolve_spec("test_resnet", drop_rate=0.5)
    later = ("resize", "drop_path_rate", "windows", "window_choice", "front")
    old = {key: value for key, value in spec.to_json().items() if key not in later}
    assert ModelSpec.from_json(old) == spec
    assert (spec.resize, spec.drop_path_rate, spec.windows, spec.window_choice) == (True, 0.0, 1, "spread")
    assert (spec.front, spec.channels) == ("rgb", 3)


# (name, side in px) of the models that presets and the README name
NAMED = [
    ("resnet18.a1_in1k", 224),
    ("resnet50.a1_in1k", 224),
    ("resnext101_32x8d.tv_in1k", 224),
    ("tf_efficientnet_b0.ns_jft_in1k", 224),
    ("tf_efficientnet_b4.ns_jft_in1k", 380),
    ("tf_efficientnet_b7.ns_jft_in1k", 600),
    ("efficientnet_lite0.ra_in1k", 224),
    ("mobilenetv3_small_100.lamb_in1k", 224),
    ("mobilenetv3_large_100.ra_in1k", 224),
    ("convnext_base.fb_in22k_ft_in1k", 224),
    ("vit_large_patch14_clip_quickgelu_224.openai", 224),
    ("vit_pe_core_large_patch14_336.fb", 336),
    ("vit_large_patch16_dinov3.lvd1689m", 256),
]


@pytest.mark.parametrize(("name", "side"), NAMED)
def test_timm_has_the_models_that_are_named(name, side):
    spec = resolve_spec(name)
    assert (spec.name, spec.image_size) == (name, side)
    assert timm.models.get_pretrained_cfg(name).has_weights


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


@pytest.mark.parametrize("name", ["test_vit", "xcit_nano_12_p8_224"])  # one says so when seeing, one when built
def test_a_size_that_cuts_patches_is_refused_before_an_image_is_seen(name):
    with pytest.raises(UserError, match=rf"model\.image_size=100: {name} does not take .*\. Give model\.image_size=0"):
        build_detector(resolve_spec(name, image_size=100))


def test_pixels_are_normalised_by_mean_and_deviation():
    spec = ModelSpec("toy", 1, (0.5, 0.25, 0.0), (0.5, 0.25, 1.0), "bilinear")

    class Sum(nn.Module):
        def forward(self, images_NCHW):
            return images_NCHW.sum((1, 2, 3))[:, None]

    pixels = torch.tensor([255, 0, 51], dtype=torch.uint8).view(1, 3, 1, 1)
    assert float(Detector(Sum(), spec)(pixels)) == pytest.approx((1 - 0.5) / 0.5 + (0 - 0.25) / 0.25 + 0.2)


class Spy(nn.Module):
    """A backbone that keeps what it was shown."""

    def forward(self, images_NCHW):
        self.shown = images_NCHW
        return images_NCHW.mean((1, 2, 3))[:, None]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_images_reach_the_model_in_the_memory_format_that_they_have(layout):
    spy = Spy()
    Detector(spy, resolve_spec("test_resnet"))(IMAGES.contiguous(memory_format=layout))
    assert spy.shown.is_contiguous(memory_format=layout)


def test_floats_of_the_same_values_are_the_same_images():
    detector = build_detector(resolve_spec("test_resnet", image_size=64)).eval()
    with torch.inference_mode():
        assert torch.equal(detector(IMAGES.float()), detector(IMAGES))


def test_weights_are_built_in_the_usual_memory_format():
    weights = build_detector(resolve_spec("test_resnet")).parameters()
    assert all(weight.is_contiguous() for weight in weights)


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


def test_stochastic_depth_reaches_the_model():
    detector = build_detector(resolve_spec("test_vit", drop_path_rate=0.3))
    rates = [part.drop_prob for part in detector.modules() if hasattr(part, "drop_prob")]
    assert max(rates) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("vgg11", {"drop_path_rate": 0.1}, r"model\.drop_path_rate=0\.1: vgg11 does not take it .* at 0"),
        ("hrnet_w18_small", {"drop_path_rate": 0.1}, r"model\.drop_path_rate=0\.1: hrnet_w18_small does not take it"),
        ("vgg11", {"kwargs": {"drop_path_rate": 0.1}}, r"model\.kwargs={'drop_path_rate': 0\.1}: vgg11 does not take"),
        ("test_resnet", {"kwargs": {"num_classes": 2}}, r"model\.kwargs={'num_classes': 2}: test_resnet does not"),
    ],
)
def test_what_a_model_does_not_take_is_refused_by_the_key_that_gave_it(name, given, message):
    with pytest.raises(UserError, match=message) as caught:
        build_detector(resolve_spec(name, **given))
    assert "\n" not in str(caught.value)


def test_a_model_without_stochastic_depth_is_built_where_none_is_asked_for():
    assert isinstance(build_detector(resolve_spec("efficientvit_b0")), Detector)


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


def test_a_mistake_of_ours_is_not_called_the_users(monkeypatch):
    def broken(*_args, **_kwargs):
        raise TypeError("missing argument")

    monkeypatch.setattr(timm, "create_model", broken)
    with pytest.raises(TypeError, match="missing argument"):
        build_detector(resolve_spec("test_resnet"))


def test_without_the_hub_fresh_weights_are_not_its_fault(monkeypatch):
    def broken(*_args, **_kwargs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(timm, "create_model", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        build_detector(resolve_spec("test_resnet"), pretrained=False)


# --- the last layer in full precision

MANY = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def fresh(name):
    torch.manual_seed(0)
    return build_detector(resolve_spec(name, image_size=32)).eval()


def bf16():
    return torch.autocast("cpu", dtype=torch.bfloat16)


@pytest.mark.parametrize("name", [*SMALL, "caformer_s18", "swiftformer_xs"])  # the last two: hidden layers, two heads
def test_logits_under_autocast_are_not_rounded(name):
    detector = fresh(name)
    with torch.inference_mode(), bf16():
        logits = detector(MANY)
    assert logits.dtype == torch.float32
    assert len(logits.unique()) == len(MANY)
    assert (logits != logits.bfloat16()).float().mean() > 0.9


def test_without_it_different_images_tie():
    detector, images = fresh("test_resnet"), torch.cat([MANY, MANY.flip(3)])
    with torch.inference_mode(), bf16():
        logits = detector(images)
        detector.backbone.fc._forward_hooks.clear()
        rounded = detector(images)
    assert len(logits.unique()) == len(images)
    assert len(rounded.unique()) < 3 / 4 * len(images)
    torch.testing.assert_close(rounded, logits, rtol=2**-8, atol=1e-3)


def test_gradients_under_autocast_reach_every_weight():
    detector = fresh("test_efficientnet").train()
    with bf16():
        loss = detector(MANY).square().mean()
    loss.backward()
    assert {name for name, weight in detector.named_parameters() if not weight.grad.abs().sum() > 0} == set()
    assert loss.dtype == torch.float32


def test_in_full_precision_nothing_is_computed_twice():
    layer = nn.Linear(2, 1)
    assert in_full_precision(layer, (torch.ones(1, 2),), layer(torch.ones(1, 2))) is None


@pytest.mark.parametrize("bias", [True, False])
def test_a_half_layer_gives_what_a_full_one_would(bias):
    torch.manual_seed(0)
    layer, inputs = nn.Linear(50, 1, bias=bias).half(), torch.randn(9, 50).half()
    output = in_full_precision(layer, (inputs,), layer(inputs))
    assert torch.equal(output, copy.deepcopy(layer).float()(inputs.float()))


def test_a_copy_of_a_detector_is_as_precise():
    detector = fresh("test_resnet")
    twin = copy.deepcopy(detector)
    with torch.no_grad(), bf16():
        twin.backbone.fc.bias += 1
        logits = twin(MANY)
        torch.testing.assert_close(logits, detector(MANY) + 1)
    assert (logits != logits.bfloat16()).any()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("in_place", [False, True])
def test_a_compiled_detector_is_as_precise(in_place):
    detector = fresh("test_resnet")
    with torch.inference_mode(), bf16():
        logits = detector(MANY)
    if in_place:
        detector.compile(backend="eager", fullgraph=True)
    compiled = detector if in_place else torch.compile(detector, backend="eager", fullgraph=True)
    with torch.no_grad(), bf16():
        torch.testing.assert_close(compiled(MANY), logits)
    assert set(compiled.backbone.state_dict()) == set(timm.create_model("test_resnet").state_dict())
