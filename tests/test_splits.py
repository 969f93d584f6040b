"""The split: what belongs together stays together, evenly spread, and every leak is caught."""

import numpy as np
import pandas as pd
import pytest

from deepfake.errors import UserError
from deepfake.splits import assign_folds, check_folds, group_media, uneven
from deepfake.tables import FOLDS


def media(*rows):
    """A media table's columns that folds read, from (media_id, source, donor, content) or dicts of what differs."""
    names = ("media_id", "source_id", "donor_id", "content_id")
    rows = [row if isinstance(row, dict) else dict(zip(names, row)) for row in rows]
    table = pd.DataFrame(rows, columns=[*names, "label", "method", "split"])
    table = table.astype(dict.fromkeys([*names, "method", "split"], "string") | {"label": "Int8"})
    return table.assign(split=table.split.fillna("train"))


def groups(*rows, group_donors=True):
    """{frozenset of media_id} of the groups."""
    table = media(*rows)
    named = table.media_id.groupby(group_media(table, group_donors=group_donors))
    return {frozenset(members) for _, members in named}


# --- what belongs together


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("a",), ("b",)], ["a", "b"]),
        ([("a", "s"), ("b", "s"), ("c", "t")], ["ab", "c"]),
        ([("a", "s"), ("b", "t", "s")], ["ab"]),
        ([("a", "s", "d"), ("b", "t", "d")], ["ab"]),
        ([("a", None, None, "x"), ("b", None, None, "x"), ("c", None, None, "y")], ["ab", "c"]),
        ([("a", "x"), ("b", None, None, "x")], ["a", "b"]),
        ([("a", "s"), ("b", "s", "d"), ("c", "d", None, "x"), ("d", None, None, "x"), ("e", "e")], ["abcd", "e"]),
    ],
    ids=["nothing", "source", "donor is a source", "same donor", "content", "source is no content", "chain"],
)
def test_groups_are_what_is_tied_by_source_donor_or_content(rows, expected):
    assert groups(*rows) == {frozenset(members) for members in expected}


def test_without_donors_a_fake_stays_with_its_source_alone():
    rows = [("a", "s"), ("b", "s", "t"), ("c", "t")]
    assert groups(*rows) == {frozenset("abc")}
    assert groups(*rows, group_donors=False) == {frozenset("ab"), frozenset("c")}


def test_a_group_is_called_after_its_first_member_whatever_the_order():
    table = media(("b", "s"), ("z",), ("a", "s"))
    assert list(group_media(table, group_donors=True)) == ["a", "z", "a"]
    shuffled = table.iloc[[1, 2, 0]]
    assert group_media(shuffled, group_donors=True).to_dict() == {1: "z", 2: "a", 0: "a"}


def test_the_groups_of_no_media_are_none():
    assert list(group_media(media(), group_donors=True)) == []


# --- a few hundred media


def crowd(num_sources=120, seed=0):
    """Sources with a real and one to three fakes of two methods, some with a donor among ten; and a test split."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(num_sources):
        rows.append({"media_id": f"{number}_real", "source_id": f"s{number}", "label": 0, "method": "real"})
        for fake in range(rng.integers(1, 4)):
            row = {"media_id": f"{number}_fake{fake}", "source_id": f"s{number}", "label": 1}
            rows.append(
                row | {"method": ("swap", "gan")[fake % 2], "donor_id": f"s{rng.integers(10)}" if number < 20 else None}
            )
    rows += [{"media_id": "test", "label": 1, "split": "test"}, {"media_id": "unknown", "split": "train"}]
    return media(*rows)


def test_folds_cover_the_labelled_training_media_once():
    table = crowd()
    folds = assign_folds(table, num_folds=5, seed=0)
    assert sorted(folds.media_id) == sorted(set(table.media_id) - {"test", "unknown"})
    assert sorted(folds.fold.unique()) == [0, 1, 2, 3, 4]
    assert len(FOLDS.check(folds)) == len(folds)


@pytest.mark.parametrize("group_donors", [True, False])
def test_a_group_is_never_in_two_folds(group_donors):
    table = crowd()
    folds = assign_folds(table, num_folds=5, seed=0, group_donors=group_donors)
    assert folds.groupby("group_id").fold.nunique().max() == 1
    sources = table.set_index("media_id").source_id[folds.media_id].to_numpy()
    assert folds.groupby(sources).fold.nunique().max() == 1


def test_folds_are_of_even_size_and_share_of_fakes_and_methods():
    table = crowd()
    folds = assign_folds(table, num_folds=5, seed=0)
    report = check_folds(folds, table)
    assert report.media.max() - report.media.min() <= 0.1 * len(folds)
    assert report.fake_rate.max() - report.fake_rate.min() < 0.05
    assert (report.media.sum(), report.fakes.sum()) == (len(folds), (folds.label == 1).sum())
    assert report.groups.sum() == folds.group_id.nunique()
    assert folds[folds.method == "gan"].groupby("fold").size().min() > 0


def test_folds_depend_on_the_seed_and_not_on_the_order_of_rows():
    table = crowd()
    first = assign_folds(table, num_folds=3, seed=1)
    pd.testing.assert_frame_equal(first, assign_folds(table.sample(frac=1, random_state=0), num_folds=3, seed=1))
    assert (first.fold != assign_folds(table, num_folds=3, seed=2).fold).any()


# --- what cannot be split


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no labelled training media"),
        ([{"media_id": "a"}, {"media_id": "b", "label": 1, "split": "test"}], "no labelled training media"),
        ([{"media_id": "a", "label": 1}, {"media_id": "b"}], "all 1 labelled training media are fake"),
    ],
)
def test_what_has_no_reals_cannot_be_split(rows, message):
    with pytest.raises(UserError, match=message):
        assign_folds(media(*rows), num_folds=2, seed=0)


def test_reals_alone_can_be_split():
    table = media(*({"media_id": f"{n}", "label": 0} for n in range(6)))
    report = check_folds(assign_folds(table, num_folds=3, seed=0), table)
    assert report.media.tolist() == [2, 2, 2] and not report.fakes.any()


def test_more_folds_than_groups_are_refused_with_the_way_out():
    table = media(
        {"media_id": "a", "label": 0, "source_id": "s"},
        {"media_id": "b", "label": 1, "source_id": "t", "donor_id": "s"},
        {"media_id": "c", "label": 1, "source_id": "u"},
    )
    with pytest.raises(UserError, match=r"num_folds=3, but the 3 training media form 2 groups .*group_donors=false"):
        assign_folds(table, num_folds=3, seed=0)
    with pytest.raises(UserError, match=r"form 3 groups that must stay together: ask for fewer folds$"):
        assign_folds(table, num_folds=4, seed=0, group_donors=False)


# --- faults that are caught

PAIRS = [{"media_id": f"{label}{n}", "source_id": f"s{n}", "label": label} for n in range(4) for label in (0, 1)]


def split(*folds):
    """The folds table of PAIRS, each pair in its fold."""
    table = media(*PAIRS)
    return table[["media_id", "label"]].assign(group_id="", method=None, fold=np.repeat(folds, 2))


def test_a_good_split_is_reported():
    report = check_folds(split(0, 1, 1, 1), media(*PAIRS))
    assert report.to_dict("list") == {
        "fold": [0, 1],
        "media": [2, 6],
        "groups": [1, 3],
        "fakes": [1, 3],
        "fake_rate": [0.5, 0.5],
    }


def test_a_planted_leak_is_caught():
    leaking = split(0, 0, 1, 1)
    leaking.loc[leaking.media_id == "12", "fold"] = 0
    with pytest.raises(UserError, match="1 groups lie in more than one fold, first 02"):
        check_folds(leaking, media(*PAIRS))


def test_a_leak_through_a_donor_counts_only_when_donors_do():
    table = media(*PAIRS)
    table.loc[table.media_id == "10", "donor_id"] = "s3"
    with pytest.raises(UserError, match="more than one fold"):
        check_folds(split(0, 0, 1, 1), table)
    assert len(check_folds(split(0, 0, 1, 1), table, group_donors=False)) == 2


def test_a_leak_through_identical_files_is_caught():
    table = media(*PAIRS)
    table.loc[table.media_id.isin(["00", "03"]), "content_id"] = "same"
    with pytest.raises(UserError, match="more than one fold"):
        check_folds(split(0, 0, 1, 1), table)


def test_a_missing_and_a_strange_medium_are_caught():
    whole = split(0, 0, 1, 1)
    with pytest.raises(UserError, match="differ in 1, first 00"):
        check_folds(whole.iloc[1:], media(*PAIRS))
    with pytest.raises(UserError, match="differ in 1, first 13"):
        check_folds(whole, media(*PAIRS[:-1]))


def test_a_fold_of_one_class_is_caught():
    alone = media(*({"media_id": f"{n}", "label": int(n > 1)} for n in range(4)))
    folds = alone[["media_id", "label"]].assign(fold=[0, 1, 1, 1])
    with pytest.raises(UserError, match="fold 0 has only one class"):
        check_folds(folds, alone)


def test_a_label_that_differs_from_the_mediums_is_caught():
    table = media(*PAIRS)
    folds = assign_folds(table, num_folds=2, seed=0)
    folds["label"] = 1 - folds["label"]
    with pytest.raises(UserError, match="labels differ from those of the media"):
        check_folds(folds, table)


@pytest.mark.parametrize(
    ("sizes", "rates", "expected"),
    [((10, 10), (0.5, 0.5), False), ((10, 13), (0.5, 0.5), True), ((10, 10), (0.4, 0.6), True)],
)
def test_folds_of_unlike_size_or_share_of_fakes_are_uneven(sizes, rates, expected):
    assert uneven(pd.DataFrame({"media": sizes, "fake_rate": rates})) is expected
