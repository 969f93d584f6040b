"""Front ends: what each gives for pictures small enough for paper, and how a stem is widened for two of them."""

import numpy as np
import pytest
import torch

from deepfake.learn.fronts import BESIDE_RGB, FRONTS, Front, Npr, widen_stem
from deepfake.learn.models import build_detector, resolve_spec
from deepfake.tables import FRONT_NAMES

HALF = (0.5, 0.5, 0.5)
OTHERS = [name for name in FRONTS if name != "rgb"]


def front(name):
    return Front(name, HALF, HALF)


def noise(side=32, count=2):
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def grey(rows):
    """(1, 3, H, W) of rows of grey levels."""
    return torch.tensor(rows, dtype=torch.uint8)[None, None].expand(1, 3, -1, -1)


def photograph(side=128, seed=0):
    """Smoothed noise on several scales with a little grain: energy falls with frequency as in photographs."""
    import cv2

    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.normal(0, 12 * k, (side // k, side // k, 3)), (side, side)) for k in (2, 4, 8)]
    image_HWC = 128 + sum(layers) + rng.normal(0, 4, (side, side, 3))
    return torch.from_numpy(image_HWC.clip(0, 255).astype(np.uint8).transpose(2, 0, 1).copy())[None]


def test_the_names_are_those_of_the_settings():
    assert tuple(FRONTS) == FRONT_NAMES


@pytest.mark.parametrize("name", [*FRONTS, "rgb+npr", "srm+spectrum+rgb"])
@pytest.mark.parametrize("size", [(32, 32), (31, 33)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_three_channels_a_front_of_the_same_size_layout_and_precision(name, size, layout):
    images = noise(64)[:, :, : size[0], : size[1]].contiguous(memory_format=layout)
    with torch.autocast("cpu", torch.bfloat16):
        shown = front(name)(images)
    assert (shown.shape, shown.dtype) == ((2, 3 * len(name.split("+")), *size), torch.float32)
    assert shown.is_contiguous(memory_format=layout)
    torch.testing.assert_close(shown, front(name)(images.float().contiguous()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", OTHERS)
def test_a_photograph_has_a_deviation_of_about_one(name):
    shown = front(name)(photograph())
    assert 0.3 < float(shown.std()) < 2
    assert abs(float(shown.mean())) < 1


def test_all_of_them_are_one_graph_for_the_compiler():
    every = front("+".join(FRONTS))
    compiled = torch.compile(every, backend="eager", fullgraph=True)
    assert torch.equal(compiled(noise()), every(noise()))


def test_colours_are_normalised():
    assert front("rgb")(grey([[0, 255]]))[0, 0].tolist() == [[-1, 1]]


def test_fronts_stand_side_by_side_in_the_order_of_their_names():
    images = noise()
    shown = front("npr+rgb")(images)
    assert torch.equal(shown[:, :3], front("npr")(images)) and torch.equal(shown[:, 3:], front("rgb")(images))


@pytest.mark.parametrize("name", ["npr", "srm", "median"])
def test_a_flat_picture_has_no_residual(name):
    assert not front(name)(grey([[77] * 9] * 9)).any()


def test_npr_is_the_difference_to_the_upper_left_of_each_square():
    shown = front("npr")(grey([[10, 13, 20], [11, 18, 21], [30, 31, 40]])) * Npr.SCALE
    np.testing.assert_allclose(shown[0, 1], [[0, 3, 0], [1, 8, 1], [0, 1, 0]], atol=1e-5)


def test_npr_of_a_picture_that_was_enlarged_by_the_nearest_pixel_is_nothing():
    assert not front("npr")(noise(16).repeat_interleave(2, 2).repeat_interleave(2, 3)).any()


def test_srm_filters_do_not_see_slopes():
    ramp = grey([[3 * x + 2 * y for x in range(20)] for y in range(20)])
    assert not front("srm")(ramp)[:, :, 2:-2, 2:-2].any()


def test_srm_is_the_response_of_each_filter_divided_by_its_step_and_truncated():
    levels = [[100] * 9 for _ in range(9)]
    levels[4][4] = 101
    shown = front("srm")(grey(levels))[0] * 1.1
    np.testing.assert_allclose(shown[:, 4, 4], [-2 / 4, -4 / 8, -12 / 24], rtol=1e-5)
    levels[4][4] = 255
    np.testing.assert_allclose(front("srm")(grey(levels))[0, :, 4, 4] * 1.1, [-2, -2, -2], rtol=1e-5)


def test_median_leaves_the_centre_out_and_takes_the_fourth_of_eight():
    images = noise(12)
    shown = front("median")(images) * FRONTS["median"].SCALE
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect").astype(int)
    for y in range(12):
        for x in range(12):
            around = padded[:, :, y : y + 3, x : x + 3].reshape(2, 3, 9)
            neighbours = np.sort(np.delete(around, 4, -1), -1)
            np.testing.assert_allclose(shown[:, :, y, x], around[..., 4] - neighbours[..., 3], atol=1e-4)


def test_the_spectrum_has_a_peak_where_a_wave_is():
    x = torch.arange(64)
    wave = (20 * torch.cos(2 * torch.pi * 16 * x / 64)).expand(64, 64)
    shown = front("spectrum")(photograph(64).float() + wave)[0].mean(0)
    without = front("spectrum")(photograph(64).float())[0].mean(0)
    rise = shown - without
    assert {divmod(int(place), 64) for place in rise.flatten().topk(2).indices} == {(32, 48), (32, 16)}


def test_the_spectrum_of_noise_does_not_grow_with_the_picture():
    means = [float(front("spectrum")(noise(side, count=1))[..., : side // 4].mean()) for side in (64, 256)]
    assert means[0] == pytest.approx(means[1], abs=0.1)


# --- stems


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
def test_a_detector_of_two_fronts_begins_with_what_the_model_of_colours_knows(name, tmp_path):
    from safetensors.torch import save_file

    from deepfake.learn.starting_weights import load_weights

    torch.manual_seed(0)
    colours = build_detector(resolve_spec(name, image_size=64)).eval()
    save_file(colours.backbone.state_dict(), tmp_path / "w.safetensors")
    both = build_detector(resolve_spec(name, image_size=64, front="npr+rgb")).eval()
    load_weights(both, tmp_path / "w.safetensors")
    flat = torch.full((1, 3, 64, 64), 90, dtype=torch.uint8)  # no residual
    torch.testing.assert_close(both(flat), colours(flat))
    assert not torch.equal(both(noise(64)), colours(noise(64)))


def test_a_stem_is_repeated_for_each_front():
    state = {"stem": torch.rand(4, 3, 5, 5), "head": torch.rand(2, 3)}
    own = {"stem": torch.zeros(4, 6, 5, 5), "head": torch.zeros(2, 3)}
    stem = widen_stem(state, own, "srm+rgb")["stem"]
    assert torch.equal(stem[:, 3:], state["stem"]) and torch.equal(stem[:, :3], BESIDE_RGB * state["stem"])
    without_colours = widen_stem(state, own, "srm+npr")
    torch.testing.assert_close(without_colours["stem"].sum(1), state["stem"].sum(1))
    assert torch.equal(without_colours["head"], state["head"])
    assert widen_stem(state, state, "npr") == state


def test_pretrained_weights_are_widened_as_files_are(monkeypatch):
    """timm's hub is not asked: pretrained=True gives the weights of another seed."""
    import timm

    create = timm.create_model

    def offline(name, pretrained, **given):
        torch.manual_seed(5 if pretrained else 6)
        return create(name, pretrained=False, **given)

    monkeypatch.setattr(timm, "create_model", offline)
    colours, both = (
        build_detector(resolve_spec("test_resnet", front=front), pretrained=True) for front in ("rgb", "rgb+srm")
    )
    stem, wider = colours.backbone.conv1[0].weight, both.backbone.conv1[0].weight
    assert torch.equal(wider[:, :3], stem) and torch.equal(wider[:, 3:], BESIDE_RGB * stem)


@pytest.mark.parametrize("name", [*OTHERS, "rgb+spectrum"])
def test_weights_of_a_front_are_saved_and_give_their_golden_logits(name, tmp_path):
    from deepfake.learn.checkpoint import load_detector, save_detector

    detector = build_detector(resolve_spec("test_resnet", image_size=32, front=name)).eval()
    save_detector(tmp_path / "w.safetensors", detector, {})
    assert torch.equal(load_detector(tmp_path / "w.safetensors")(noise()), detector(noise()))


@pytest.mark.parametrize("name", [*FRONTS, "rgb+npr"])
def test_every_weight_of_the_stem_learns(name):
    detector = build_detector(resolve_spec("test_resnet", image_size=32, front=name)).train()
    detector(noise()).sum().backward()
    assert (detector.backbone.conv1[0].weight.grad.flatten(2).abs().sum(2) > 0).all()


@pytest.mark.cuda
@pytest.mark.parametrize("name", FRONTS)
def test_a_gpu_gives_the_same(name, card):
    shown = front(name)(noise(64))
    torch.testing.assert_close(front(name).to(card)(noise(64).to(card)).cpu(), shown, rtol=1e-4, atol=1e-4)
