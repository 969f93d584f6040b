"""Test-time views: what they show, and what a detector says of it."""

import itertools

import cv2
import numpy as np
import pytest
import torch

from deepfake.learn.engine import Precision, predict
from deepfake.learn.views import VIEWS, passes, view_logits
from deepfake.tables import VIEW_NAMES

SIDES = (8, 15, 16, 33, 64)


def noise(side, count=2):
    return torch.randint(0, 256, (count, 3, side, side), generator=torch.manual_seed(0), dtype=torch.uint8)


def smooth(side=64):
    """A picture without sharp edges, its channels unlike one another."""
    ramp = torch.linspace(0, 1, side)
    waves = [ramp[:, None] * ramp, (4 * ramp).sin()[:, None] * ramp, ramp.flip(0)[:, None] + 0 * ramp]
    return (255 * torch.stack(waves).clamp(0, 1)).to(torch.uint8)[None]


def only(view, images):
    (shown,) = VIEWS[view](images)
    return shown


def psnr(one, other):
    return float(10 * torch.log10(255**2 / (one.float() - other.float()).square().mean()))


def test_the_configuration_knows_these_views_and_no_others():
    assert tuple(VIEWS) == VIEW_NAMES


def test_five_crops_are_five_passes_and_all_else_is_one():
    assert {view: passes(view) for view in VIEWS} == dict.fromkeys(VIEWS, 1) | {"five_crop": 5}


@pytest.mark.parametrize("view", VIEWS)
def test_shape_type_and_memory_format_stay(view):
    for side, memory_format in itertools.product(SIDES, (torch.channels_last, torch.contiguous_format)):
        images = noise(side).contiguous(memory_format=memory_format)
        before = images.clone()
        for shown in VIEWS[view](images):
            found = (shown.shape, shown.dtype, shown.device)
            assert found == (images.shape, torch.uint8, images.device), (side, memory_format)
            assert shown.is_contiguous(memory_format=memory_format), (side, memory_format)
        assert torch.equal(images, before), (side, memory_format)


@pytest.mark.parametrize("view", VIEWS)
def test_what_is_all_alike_stays_itself(view):
    for side in SIDES:
        grey = torch.full((2, 3, side, side), 117, dtype=torch.uint8)
        assert all(torch.equal(shown, grey) for shown in VIEWS[view](grey)), side


@pytest.mark.parametrize(("view", "times"), [("identity", 1), ("hflip", 2), ("vflip", 2), ("rot90", 4)])
def test_turned_often_enough_it_is_itself_and_not_before(view, times):
    images = noise(9)
    shown = only(view, images)
    for _ in range(times - 1):
        assert not torch.equal(shown, images)
        shown = only(view, shown)
    assert torch.equal(shown, images)


def test_flips_and_turns_go_the_way_of_their_names():
    image = torch.arange(4, dtype=torch.uint8).view(1, 1, 2, 2).expand(1, 3, 2, 2)  # 0 1 above 2 3
    said = {view: only(view, image)[0, 0].flatten().tolist() for view in ("hflip", "vflip", "rot90")}
    assert said == {"hflip": [1, 0, 3, 2], "vflip": [2, 3, 0, 1], "rot90": [1, 3, 0, 2]}


@pytest.mark.parametrize("view", ["scale_down", "scale_up", "hflip", "vflip", "identity"])
def test_the_middle_stays_in_the_middle(view):
    """A view of the mirrored image is the mirrored view."""
    for side in SIDES:
        images = noise(side)
        assert (only(view, images.flip(3)).int() - only(view, images).flip(3).int()).abs().max() <= 1, side


def test_a_larger_scale_shows_the_middle_larger_and_not_the_edge():
    image = torch.zeros(1, 3, 80, 80, dtype=torch.uint8)
    image[:, :, 20:60, 20:60] = 100
    image[:, :, :7], image[:, :, :, -7:] = 255, 255  # cut off: 80 / 10 px on each side
    shown = only("scale_up", image)[0, 0]
    assert shown.max() == 100
    assert int((shown > 50).sum()) == 50 * 50


def test_a_smaller_scale_shows_the_whole_and_mirrors_it_at_the_edge():
    image = torch.zeros(1, 3, 80, 80, dtype=torch.uint8)
    image[:, :, 20:60, 20:60] = 100
    image[:, :, :, 0:5] = 200
    shown = only("scale_down", image)[0, 0]
    assert int((shown[:, 16:64] > 50).sum()) == 32 * 32
    assert int((shown[40] > 150).sum()) == 4 + 3  # the strip, and its image beyond the edge without the edge itself
    assert torch.equal(shown[:8], shown[9:17].flip(0))


def test_the_corners_of_five_crops_are_the_corners_of_the_image():
    image = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    first, last = slice(0, 8), slice(56, 64)
    corners = [(0, first, first), (0, first, last), (0, last, first), (0, last, last)]
    for place, value in zip(corners, (50, 100, 150, 200), strict=True):
        image[:, :, *place[1:]] = value
    *shown, middle = [view[0] for view in VIEWS["five_crop"](image)]
    for number, (place, value) in enumerate(zip(corners, (50, 100, 150, 200), strict=True)):
        assert (shown[number][place] == value).all()
        assert all(shown[other][place].float().mean() < 0.3 * value for other in {0, 1, 2, 3} - {number})
        assert 0 < middle[place].float().mean() < value


def test_jpeg_changes_little_and_always_alike():
    image = smooth()
    shown = only("jpeg", image)
    assert 30 < psnr(image, shown) < 60
    assert torch.equal(shown, only("jpeg", image))
    assert torch.equal(only("jpeg", torch.cat([noise(64), image]))[2:], shown)  # whatever else is in the batch


def test_jpeg_takes_colours_for_what_they_are():
    image = smooth()
    crop_BGR = np.ascontiguousarray(image[0].permute(1, 2, 0).numpy()[:, :, ::-1])
    decoded = cv2.imdecode(cv2.imencode(".jpg", crop_BGR, (cv2.IMWRITE_JPEG_QUALITY, 75))[1], cv2.IMREAD_COLOR)
    assert np.array_equal(only("jpeg", image)[0].permute(1, 2, 0).numpy(), decoded[:, :, ::-1])
    assert not torch.equal(only("jpeg", image.flip(1)).flip(1), only("jpeg", image))


def test_the_logit_of_five_crops_is_the_mean_of_the_five(toy, cpu):
    images = noise(8, 6)
    batch = [(images, torch.zeros(6), torch.arange(6))]
    both = predict(toy, batch, views=["five_crop", "identity"], precision=cpu)
    with torch.inference_mode():
        by_hand = sum(toy(shown) for shown in VIEWS["five_crop"](images)) / 5
        plain = toy(images)
    assert (both.shape, both.dtype) == ((6, 2), np.float32)
    np.testing.assert_allclose(both[:, 0], by_hand, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(both[:, 1], plain)
    assert np.abs(both[:, 0] - both[:, 1]).max() > 1e-3


def test_each_view_is_shown_once(toy):
    seen = []
    toy.register_forward_pre_hook(lambda _, images: seen.append(images[0]))
    assert view_logits([toy], noise(8), list(VIEWS)).shape == (2, 1, len(VIEWS))
    assert len(seen) == sum(passes(view) for view in VIEWS) == 12


@pytest.mark.parametrize("view", VIEWS)
def test_half_precision_is_shown_the_same_pixels(toy, view):
    """Views are made in full precision, also under autocast."""
    images = noise(33)
    with Precision(torch.device("cpu"), torch.bfloat16).autocast():
        shown = VIEWS[view](images)
    assert all(torch.equal(one, other) for one, other in zip(shown, VIEWS[view](images), strict=True))


@pytest.mark.cuda
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_a_gpu_shows_the_same_to_the_last_rounding(view, memory_format, card):
    images = noise(33).contiguous(memory_format=memory_format)
    for shown, here in zip(VIEWS[view](images.to(card)), VIEWS[view](images), strict=True):
        assert shown.device.type == card.type and shown.is_contiguous(memory_format=memory_format)
        assert (shown.cpu().int() - here.int()).abs().max() <= 1
