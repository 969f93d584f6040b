"""What a phase trains: by names of weights, in models of every kind, and in real steps."""

from functools import cache

import pytest
import timm
import torch
from torch import nn

from deepfake.errors import UserError
from deepfake.learn.freeze import train_only, training_mode
from deepfake.learn.optimiser import build_optimizer


@cache
def shape_of(name, **kwargs):
    """A model with names and shapes alone: the large ones take neither memory nor time."""
    with torch.device("meta"):
        return timm.create_model(name, num_classes=1, **kwargs)


def starting(model, *prefixes):
    """Names of weights that start with one of the prefixes; each prefix has some."""
    names = [name for name, _ in model.named_parameters()]
    assert all(any(name.startswith(prefix) for name in names) for prefix in prefixes)
    return [name for name in names if name.startswith(prefixes)]


def check(model, what, expected):
    """That exactly the weights of these names are trained, in the model's order."""
    assert expected
    assert train_only(model, what) == expected
    assert [name for name, weight in model.named_parameters() if weight.requires_grad] == expected


# Classifier, and what else is in the last stage or comes after it.
MODELS = {
    "resnext101_32x8d": (["fc."], ["layer4."]),
    "efficientnet_b0": (["classifier."], ["blocks.6.", "conv_head.", "bn2."]),
    "tf_efficientnet_b4": (["classifier."], ["blocks.6.", "conv_head.", "bn2."]),
    "mobilenetv2_100": (["classifier."], ["blocks.6.", "conv_head.", "bn2."]),
    "convnext_tiny": (["head.fc."], ["stages.3.", "head.norm."]),
    "vit_base_patch16_224": (["head."], ["blocks.11.", "norm."]),
    "vit_large_patch14_clip_224": (["head."], ["blocks.23.", "norm."]),
    "vit_large_patch16_dinov3": (["head."], ["blocks.23.", "norm."]),
    "vit_base_patch16_siglip_224": (["head."], ["blocks.11.", "norm.", "attn_pool."]),
    "eva02_base_patch14_448": (["head."], ["blocks.11.", "fc_norm."]),
    "beit_base_patch16_224": (["head."], ["blocks.11.", "fc_norm."]),
    "deit_base_distilled_patch16_224": (["head.", "head_dist."], ["blocks.11.", "norm."]),
    "swin_tiny_patch4_window7_224": (["head.fc."], ["layers.3.", "norm."]),
    "swinv2_tiny_window8_256": (["head.fc."], ["layers.3.", "norm."]),
    "maxvit_tiny_tf_224": (["head.fc."], ["stages.3.", "head.norm.", "head.pre_logits."]),
    "crossvit_9_240": (["head.0.", "head.1."], ["blocks.2.", "norm."]),
    "xception41": (["head.fc."], ["blocks.12."]),
    "legacy_xception": (["fc."], ["conv3.", "bn3.", "conv4.", "bn4."]),
    "regnety_016": (["head.fc."], ["s4."]),
    "densenet121": (["classifier."], ["features.denseblock4.", "features.norm5."]),
    "inception_v3": (["fc."], ["Mixed_7c."]),
    "dm_nfnet_f0": (["head.fc."], ["stages.3.", "final_conv."]),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_head_is_the_classifier(name):
    model, (head, _) = shape_of(name), MODELS[name]
    check(model, "head", starting(model, *head))


@pytest.mark.parametrize("name", MODELS)
def test_the_last_stage_is_with_all_that_comes_after_it(name):
    model, (head, stage) = shape_of(name), MODELS[name]
    check(model, "last_stage", starting(model, *stage, *head))


def test_a_norm_before_the_head_of_a_vit_is_after_its_last_stage():
    model = shape_of("vit_base_patch16_224", global_pool="avg")
    check(model, "last_stage", starting(model, "blocks.11.", "fc_norm.", "head."))


@pytest.mark.parametrize("name", MODELS)
def test_all_is_every_weight(name):
    model = shape_of(name)
    train_only(model, "head")
    check(model, "all", [name for name, _ in model.named_parameters()])


# What the name of a norm's weight contains, in each of them.
NORMS = {
    "resnext101_32x8d": ["bn1.", "bn2.", "bn3.", "downsample.1."],
    "efficientnet_b0": ["bn1.", "bn2.", "bn3."],
    "convnext_tiny": ["norm.", "stem.1.", "downsample.0."],
    "convnextv2_tiny": ["norm.", "stem.1.", "downsample.0.", "grn."],
    "vit_base_patch16_224": ["norm1.", "norm2.", "norm."],
    "vit_large_patch14_clip_224": ["norm_pre.", "norm1.", "norm2.", "norm."],
    "swin_tiny_patch4_window7_224": ["norm1.", "norm2.", "norm."],
    "convnext_atto_rms": ["norm.", "stem.1.", "downsample.0."],
    "resnetv2_50d_gn": ["norm1.", "norm2.", "norm3.", "norm.", "stem.norm"],
    "resnetv2_50d_evos": ["norm1.", "norm2.", "norm3.", "norm.", "stem.norm"],
}


@pytest.mark.parametrize("name", NORMS)
def test_norm_is_every_norm_and_the_classifier(name):
    model, marks = shape_of(name), NORMS[name]
    names = [weight for weight, _ in model.named_parameters()]
    assert all(any(mark in weight for weight in names) for mark in marks)
    head = MODELS.get(name, (["head.fc."], []))[0]
    check(model, "norm", [n for n in names if any(mark in n for mark in marks) or n.startswith(tuple(head))])


def test_a_net_without_norms_has_its_classifier_trained():
    model = shape_of("dm_nfnet_f0")  # whose blocks are called NormFreeBlock
    check(model, "norm", ["head.fc.weight", "head.fc.bias"])


@pytest.mark.parametrize("name", ["resnext101_32x8d", "efficientnet_b0", "convnext_tiny", "vit_base_patch16_224"])
def test_anything_else_is_a_pattern_that_is_searched_for(name):
    model = shape_of(name)
    names = [weight for weight, _ in model.named_parameters()]
    check(model, r"\.1\.", [weight for weight in names if ".1." in weight])
    check(model, "bias$", [weight for weight in names if weight.endswith("bias")])
    check(
        model,
        "^(?:patch_embed|stem|conv_stem|conv1)",
        [n for n in names if n.startswith(("patch", "stem", "conv_s", "conv1"))],
    )


# --- what cannot be


def test_a_pattern_that_matches_nothing_is_refused_with_examples_and_changes_nothing():
    model = shape_of("test_resnet")
    before = train_only(model, "layer3")
    with pytest.raises(UserError, match=r"trains=layre4 matches no weight; .*conv1\.0\.weight, layer.*, fc\.bias"):
        train_only(model, "layre4")
    assert [name for name, weight in model.named_parameters() if weight.requires_grad] == before


@pytest.mark.parametrize("name", ["caformer_s18", "pit_ti_224", "rdnet_tiny"])
def test_without_timms_stages_a_pattern_is_asked_for(name):
    model = shape_of(name)
    with pytest.raises(UserError, match=r"timm names no stages of this model; give trains a regular expression"):
        train_only(model, "last_stage")
    assert train_only(model, "head")
    assert train_only(model, "norm")


@pytest.mark.parametrize("what", ["head", "last_stage", "norm"])
def test_a_model_that_is_not_timms_needs_a_pattern(what):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 1))
    with pytest.raises(UserError, match=r"give trains a regular expression .* 0\.weight"):
        train_only(model, what)
    check(model, "^2", ["2.weight", "2.bias"])
    check(model, "all", ["0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias"])


def test_a_model_without_a_classifier_has_no_head():
    with torch.device("meta"):
        model = timm.create_model("test_resnet", num_classes=0)
    with pytest.raises(UserError, match="trains=head matches no weight"):
        train_only(model, "head")


# --- real steps


def step_twice(model):
    """Two steps of training on noise; names of the entries of the state that they changed."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = build_optimizer(model, name="lion", lr=0.01, weight_decay=0.1)  # by signs alone
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    for _ in range(2):
        training_mode(model)
        optimizer.zero_grad()
        model(images).sub(3).pow(2).mean().backward()
        optimizer.step()
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


@pytest.fixture(params=["test_resnet", "test_efficientnet", "test_convnext", "test_vit"])
def micro(request):
    torch.manual_seed(0)
    kwargs = {"img_size": 32} if request.param == "test_vit" else {}
    return timm.create_model(request.param, num_classes=1, **kwargs)


def statistics(model, which):
    """Names of the running statistics of the batch norms of which `which` holds."""
    modules = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]
    return {f"{name}.{buffer}" for name, module in modules if which(module) for buffer, _ in module.named_buffers()}


@pytest.mark.parametrize("what", ["all", "head", "last_stage", "norm", r"(?:2|3)\..*\.weight$"])
def test_a_step_changes_what_is_trained_and_nothing_else(micro, what):
    trained = set(train_only(micro, what))
    weights = {name for name, _ in micro.named_parameters()}
    unfrozen = statistics(micro, lambda norm: norm.weight.requires_grad or norm.bias.requires_grad)
    changed = step_twice(micro)
    assert changed & weights == trained
    assert changed - weights == unfrozen


def test_statistics_stay_where_all_is_frozen_and_move_where_all_is_trained():
    for what, moving in (("head", 0), ("last_stage", 9), ("all", 45)):
        model = timm.create_model("test_resnet", num_classes=1)
        train_only(model, what)
        assert len(step_twice(model) - {name for name, _ in model.named_parameters()}) == moving


def test_a_norm_of_which_one_weight_is_trained_learns_its_statistics():
    model = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(2), nn.BatchNorm2d(2, affine=False), nn.Dropout(0.5))
    train_only(model, "0.bias")
    model.eval()
    training_mode(model)
    assert [module.training for module in model] == [True, False, True, True]


def test_another_phase_thaws_what_the_first_one_froze(micro):
    train_only(micro, "head")
    training_mode(micro)
    train_only(micro, "all")
    training_mode(micro)
    assert all(module.training for module in micro.modules())
    assert all(weight.requires_grad for weight in micro.parameters())
