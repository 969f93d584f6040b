"""Mixup and CutMix of a batch: pictures and targets are mixed by the same weights."""

import pytest
import torch

from deepfake.learn.mix import mix_batch

VALUES = torch.tensor([200.0, 0.0, 0.0, 100.0])
TARGETS = torch.tensor([1.0, 0.0, 0.25, 1.0])
IMAGES = VALUES.to(torch.uint8)[:, None, None, None].expand(4, 3, 16, 16).contiguous()


def mixed(seed, **alphas):
    torch.manual_seed(seed)
    return mix_batch(IMAGES, TARGETS, **{"mixup": 0.0, "cutmix": 0.0} | alphas)


def test_without_either_the_very_same_batch_comes_back():
    images, targets = mixed(0)
    assert images is IMAGES
    assert targets is TARGETS


def test_one_crop_has_nothing_to_be_mixed_with():
    images, targets = mix_batch(IMAGES[:1], TARGETS[:1], mixup=1.0, cutmix=1.0)
    assert (images.tolist(), targets.tolist()) == (IMAGES[:1].tolist(), [1.0])


@pytest.mark.parametrize("way", ["mixup", "cutmix"])
def test_pictures_and_targets_agree_on_the_share_of_each(way):
    for seed in range(10):
        images, targets = mixed(seed, **{way: 1.0})
        assert (images.dtype, images.shape, targets.shape) == (torch.float32, IMAGES.shape, (4,)), seed
        shares = images.mean((1, 2, 3))  # of constant pictures: the mean, however they are mixed
        share = float(shares[0] - VALUES[3]) / float(VALUES[0] - VALUES[3])
        assert 0 <= share <= 1, seed
        torch.testing.assert_close(shares, share * VALUES + (1 - share) * VALUES.roll(1), atol=1e-3, rtol=0)
        torch.testing.assert_close(targets, share * TARGETS + (1 - share) * TARGETS.roll(1), atol=1e-5, rtol=0)


def test_mixup_blends_and_cutmix_pastes():
    assert all(len(mixed(seed, mixup=1.0)[0][0].unique()) == 1 for seed in range(10))
    values = [set(mixed(seed, cutmix=1.0)[0][0].unique().tolist()) for seed in range(10)]
    assert set().union(*values) == {100.0, 200.0}
    assert {100.0, 200.0} in values


def test_where_both_are_on_a_batch_gets_one_of_them():
    blended = [bool(len(mixed(seed, mixup=1.0, cutmix=1.0)[0][0].unique()) == 1) for seed in range(60)]
    assert 15 < sum(blended) < 50  # a window of cutmix may be nothing or everything
    outside = [image for seed in range(60) for image in mixed(seed, mixup=1.0, cutmix=1.0)[0]]
    assert all(len(image.unique()) <= 2 for image in outside)


def test_it_follows_torchs_seed_and_leaves_the_batch_as_it_was():
    before = IMAGES.clone()
    first, again, other = (mixed(seed, mixup=1.0) for seed in (0, 0, 1))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])
    assert torch.equal(IMAGES, before)


def test_channels_stay_innermost_in_memory():
    images, _ = mix_batch(IMAGES.contiguous(memory_format=torch.channels_last), TARGETS, mixup=1.0, cutmix=0.0)
    assert images.is_contiguous(memory_format=torch.channels_last)
