"""Which crops an epoch shows, in which order, and how several GPUs share them."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from deepfake.errors import UserError
from deepfake.learn.sampling import EpochBatches, Rows, draw_epoch


def rows_of(media):
    """media: {name: (label, crops)} or (label, crops, method, source) → Rows, interleaved by frame; and the names."""
    table = []
    for name, (label, count, *more) in media.items():
        method, source = more or ("", name)
        table += [(name, label, method, source, frame) for frame in range(count)]
    table.sort(key=lambda row: (row[4], row[0]))
    names, labels, methods, sources, frames = zip(*table)
    rows = Rows.from_names(media=names, labels=labels, methods=methods, sources=sources, frames=frames)
    return rows, np.array(names)


# 2 reals and 5 fakes, of 1 to 6 crops
ROWS, NAMES = rows_of(
    {"r1": (0, 6), "r2": (0, 1), "f1": (1, 6), "f2": (1, 2), "f3": (1, 3), "f4": (1, 1), "f5": (1, 4)}
)


def draw(seed, frames_per_medium=3, rows=ROWS, sampler="balanced"):
    return draw_epoch(rows, sampler=sampler, frames_per_medium=frames_per_medium, rng=np.random.default_rng(seed))


def batches(rows=ROWS, **changes):
    settings = {"sampler": "balanced", "frames_per_medium": 3, "batch_size": 2, "seed": 4} | changes
    return EpochBatches(rows, **settings)


# --- balanced, and what all samplers share


@pytest.mark.parametrize("sampler", ["balanced", "methods"])
@pytest.mark.parametrize("seed", range(5))
def test_an_epoch_has_as_many_media_of_each_class(sampler, seed):
    shown = {(NAMES[row], ROWS.labels[row]) for row in draw(seed, sampler=sampler)}
    assert Counter(label for _, label in shown) == {0: 2, 1: 2}


def test_the_reals_are_undersampled_where_they_are_more():
    rows, names = rows_of({"f": (1, 1)} | {f"r{number}": (0, 1) for number in range(4)})
    drawn = [draw(seed, rows=rows) for seed in range(40)]
    assert {len(rows) for rows in drawn} == {2}
    assert {name for rows in drawn for name in names[rows]} == {"f", "r0", "r1", "r2", "r3"}


@pytest.mark.parametrize("sampler", ["balanced", "methods", "all"])
@pytest.mark.parametrize("most", [1, 2, 3, 10])
def test_an_epoch_shows_each_chosen_medium_with_what_it_has_up_to_a_limit(sampler, most):
    rows = draw(0, most, sampler=sampler)
    there = Counter(NAMES)
    assert Counter(NAMES[rows]) == {name: min(most, there[name]) for name in set(NAMES[rows])}
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize("sampler", ["balanced", "methods"])
def test_over_the_epochs_every_medium_and_every_crop_is_shown(sampler):
    assert set(np.concatenate([draw(seed, sampler=sampler) for seed in range(60)])) == set(range(len(NAMES)))


@pytest.mark.parametrize("sampler", ["balanced", "methods", "all"])
def test_an_epoch_is_shuffled_and_not_sorted_by_medium_or_class(sampler):
    orders = [list(draw(seed, sampler=sampler)) for seed in range(20)]
    assert len({ROWS.labels[order[0]] for order in orders}) == 2
    assert any(order != sorted(order) for order in orders)


def test_long_videos_do_not_come_earlier_than_short_ones():
    rows, names = rows_of({"long": (0, 30), "short": (1, 1)})
    first = [names[draw(seed, 1, rows=rows)[0]] for seed in range(200)]
    assert 70 < first.count("long") < 130


def test_all_shows_every_medium():
    assert set(NAMES[draw(0, 1, sampler="all")]) == set(NAMES)


def test_an_unknown_sampler_is_named():
    with pytest.raises(ValueError, match=r"sampler='other'; allowed: balanced, methods, pairs, all"):
        draw(0, sampler="other")


# --- methods


def fakes_of_each_method(reals, seed, **fakes):
    media = {f"r{number}": (0, 1) for number in range(reals)}
    for method, count in fakes.items():
        media |= {f"{method}{number}": (1, 1, method, "x") for number in range(count)}
    rows, names = rows_of(media)
    shown = draw(seed, rows=rows, sampler="methods")
    return Counter(name[0] for name in names[shown])


@pytest.mark.parametrize("seed", range(5))
def test_fakes_are_spread_over_methods_as_evenly_as_their_numbers_allow(seed):
    assert fakes_of_each_method(9, seed, a=50, b=7, c=3) == {"r": 9, "a": 3, "b": 3, "c": 3}
    assert fakes_of_each_method(12, seed, a=50, b=7, c=2) == {"r": 12, "a": 5, "b": 5, "c": 2}


def test_who_gets_the_fake_that_is_left_over_is_drawn():
    counts = [fakes_of_each_method(7, seed, a=50, b=7, c=1) for seed in range(30)]
    assert {(count["a"], count["b"], count["c"]) for count in counts} == {(3, 3, 1)}
    counts = [fakes_of_each_method(8, seed, a=50, b=7, c=1) for seed in range(30)]
    assert {(count["a"], count["b"], count["c"]) for count in counts} == {(4, 3, 1), (3, 4, 1)}


def test_where_fakes_are_fewer_than_reals_all_of_them_are_shown():
    assert fakes_of_each_method(9, 0, a=4, b=1) == {"r": 5, "a": 4, "b": 1}


# --- pairs

PAIRED, PAIRED_NAMES = rows_of(
    {
        "r1": (0, 4),
        "a1": (1, 4, "a", "r1"),
        "b1": (1, 4, "b", "r1"),
        "r2": (0, 3),
        "a2": (1, 2, "a", "r2"),
        "r3": (0, 5),  # has no fakes
        "x": (1, 5, "a", "gone"),  # its source is not there
    }
)


def drawn_pairs(seed, most, rows=PAIRED):
    """(P, 2) rows, the real first."""
    pairs = draw(seed, most, rows=rows, sampler="pairs").reshape(-1, 2)
    return np.array([sorted(pair, key=lambda row: rows.labels[row]) for pair in pairs])


@pytest.mark.parametrize("seed", range(5))
def test_each_real_with_fakes_is_shown_beside_one_of_them(seed):
    pairs = drawn_pairs(seed, 10)
    assert (PAIRED.labels[pairs] == [0, 1]).all()
    assert (PAIRED.sources[pairs[:, 0]] == PAIRED.sources[pairs[:, 1]]).all()
    counts = Counter(map(tuple, PAIRED_NAMES[pairs]))
    of_r1 = [pair for pair in counts if pair[0] == "r1"]
    assert len(of_r1) == 1
    assert counts == {of_r1[0]: 4, ("r2", "a2"): 2}
    assert len(set(pairs.ravel())) == pairs.size


@pytest.mark.parametrize("most", [1, 2, 3])
def test_pairs_are_of_the_same_frame_where_both_have_it(most):
    pairs = drawn_pairs(0, most)
    assert (PAIRED.frames[pairs[:, 0]] == PAIRED.frames[pairs[:, 1]]).all()
    assert Counter(PAIRED_NAMES[pairs[:, 0]]) == {"r1": most, "r2": min(2, most)}


def test_which_fake_and_which_frames_a_real_is_shown_with_is_drawn_anew():
    shown = {(PAIRED_NAMES[fake], PAIRED.frames[fake]) for seed in range(60) for _, fake in drawn_pairs(seed, 1)}
    assert shown == {(name, frame) for name in ("a1", "b1") for frame in range(4)} | {("a2", 0), ("a2", 1)}


def test_a_frame_that_the_fake_has_not_goes_with_any_other_of_its_frames():
    names = {"media": ["r", "r", "r", "f", "f", "f"], "sources": ["r"] * 6, "methods": [""] * 6}
    rows = Rows.from_names(**names, labels=[0, 0, 0, 1, 1, 1], frames=[0, 10, 20, 10, 11, 12])
    seen = set()
    for seed in range(40):
        pairs = {tuple(rows.frames[pair]) for pair in drawn_pairs(seed, 10, rows)}
        assert (10, 10) in pairs
        assert len(pairs) == 3
        seen |= pairs
    assert seen == {(10, 10), (0, 11), (0, 12), (20, 11), (20, 12)}


def test_of_several_faces_in_a_frame_each_has_its_own_partner():
    names = {"media": ["r", "r", "f", "f"], "sources": ["r"] * 4, "methods": [""] * 4}
    rows = Rows.from_names(**names, labels=[0, 0, 1, 1], frames=[5, 5, 5, 5])
    assert {tuple(pair) for pair in drawn_pairs(0, 10, rows).tolist()} == {(0, 2), (1, 3)}


def test_pairs_are_shuffled_and_either_of_a_pair_may_come_first():
    firsts = [PAIRED.labels[draw(seed, 4, rows=PAIRED, sampler="pairs")[0]] for seed in range(40)]
    assert 8 < sum(firsts) < 32
    assert len({tuple(PAIRED_NAMES[drawn_pairs(seed, 4)[:, 0]]) for seed in range(10)}) > 1


def test_with_an_even_batch_size_a_pair_shares_its_batch():
    for keys in batches(PAIRED, sampler="pairs", frames_per_medium=10):
        rows = [row for _, row in keys]
        assert sorted(PAIRED.labels[rows]) == [0, 1]
        assert len(set(PAIRED.sources[rows])) == 1


@pytest.mark.parametrize("sources", [["r", "other"], ["r", None], [None, None]])
def test_without_any_pair_it_says_what_to_use_instead(sources):
    rows = Rows.from_names(media=["r", "f"], labels=[0, 1], methods=["", ""], sources=sources, frames=[0, 0])
    with pytest.raises(UserError, match=r"train\.sampler=pairs, but no fake .* use train\.sampler=balanced"):
        draw(0, rows=rows, sampler="pairs")


# --- rows


def test_names_of_any_kind_become_numbers_and_what_is_missing_minus_one():
    rows = Rows.from_names(
        media=[("a", 1), ("a", 1), ("b", 2)],
        labels=pd.Series([0, 0, 1], dtype="Int8"),
        methods=pd.Series(["real", "real", None], dtype="string"),
        sources=np.array(["a", "a", None], object),
        frames=pd.Series([0, 7, 0], index=[5, 6, 7]),
    )
    assert rows.media[0] == rows.media[1] != rows.media[2]
    assert rows.methods.tolist() == rows.sources.tolist() == [0, 0, -1]
    assert (rows.labels.tolist(), rows.frames.tolist()) == ([0, 0, 1], [0, 7, 0])


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"different lengths: .*'frames': 1"):
        Rows.from_names(media="ab", labels=[0, 1], methods="ab", sources="ab", frames=[0])


# --- batches


def test_batches_are_drawn_anew_each_epoch_and_the_same_for_the_same_seed():
    sampler = batches()
    first = list(sampler)
    sampler.epoch = 1
    second = list(sampler)
    assert [[row for _, row in keys] for keys in first] != [[row for _, row in keys] for keys in second]
    assert {epoch for keys in first for epoch, _ in keys} == {0}
    assert {epoch for keys in second for epoch, _ in keys} == {1}
    assert list(batches()) == first != list(batches(seed=5))


def test_the_steps_of_each_epoch_are_those_that_are_made():
    rows, _ = rows_of({"a": (0, 2), "b": (1, 1), "c": (1, 2)})  # 4 crops an epoch with c, 2 + 1 with b
    sampler = batches(rows, batch_size=1, frames_per_medium=2)
    steps, made = [sampler.steps(epoch) for epoch in range(8)], []
    for sampler.epoch in range(8):
        made.append(len(list(sampler)))
    assert steps == made
    assert set(steps) == {3, 4}


def test_an_epoch_goes_on_after_the_steps_that_are_done():
    sampler = batches(sampler="all", frames_per_medium=9)
    whole = list(sampler)
    for sampler.start in range(len(whole) + 1):
        assert list(sampler) == whole[sampler.start :]


@pytest.mark.parametrize(("batch_size", "sizes"), [(2, [2, 2]), (4, [4]), (3, [3]), (9, [4])])
def test_a_smaller_last_batch_is_dropped_unless_it_is_the_only_one(batch_size, sizes):
    rows, _ = rows_of({"a": (0, 1), "b": (1, 1), "c": (0, 1), "d": (1, 1)})
    sampler = batches(rows, batch_size=batch_size)
    assert [len(keys) for keys in sampler] == sizes
    assert sampler.steps(0) == len(sizes)


@pytest.mark.parametrize("sampler", ["balanced", "methods", "pairs", "all"])
@pytest.mark.parametrize(("batch_size", "world_size"), [(4, 2), (5, 2), (4, 3), (3, 3), (50, 3)])
def test_the_shares_of_all_ranks_are_the_global_batch(sampler, batch_size, world_size):
    settings = {"sampler": sampler, "frames_per_medium": 9, "batch_size": batch_size}
    whole = list(batches(PAIRED, **settings))
    shares = [list(batches(PAIRED, **settings, rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert len(whole) > 0
    for batch, *parts in zip(whole, *shares, strict=True):
        assert sorted(key for part in parts for key in part) == sorted(batch)
        assert len(set(batch)) == len(batch)
        sizes = [len(part) for part in parts]
        assert 0 < min(sizes) >= max(sizes) - 1


def test_each_of_two_ranks_sees_both_classes_of_pairs():
    rows, _ = rows_of(
        {f"r{number}": (0, 1) for number in range(20)}
        | {f"f{number}": (1, 1, "", f"r{number}") for number in range(20)}
    )
    for rank in (0, 1):
        (keys,) = batches(rows, sampler="pairs", batch_size=40, rank=rank, world_size=2)
        assert 4 <= sum(rows.labels[row] for _, row in keys) <= 16


def test_a_batch_smaller_than_the_number_of_gpus_is_refused():
    with pytest.raises(ValueError, match=r"train\.batch_size=2 for 3 GPUs; allowed: 3 or more"):
        batches(batch_size=2, world_size=3)


@pytest.mark.parametrize("rank", [0, 4])
def test_too_few_crops_for_so_many_gpus_is_an_error_on_all_of_them(rank):
    sampler = batches(frames_per_medium=1, batch_size=8, rank=rank, world_size=5)
    for ask in (list, lambda keys: keys.steps(0)):
        with pytest.raises(UserError, match="balanced shows 4 crops in epoch 0: too few for 5 GPUs"):
            ask(sampler)
