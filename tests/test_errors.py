"""Whose mistake an error is."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from deepfake.errors import closest, raised_within
from deepfake.files import typed


def raised(call: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:
        call()
    return caught.value


def test_an_error_is_a_librarys_where_our_call_into_it_brought_it_up() -> None:
    assert raised_within(raised(lambda: json.loads("{")), "json")
    assert not raised_within(raised(lambda: json.loads("{")), "csv")
    assert not raised_within(raised(lambda: typed({}, name=str)), "json")


def test_what_a_library_calls_itself_is_its_own_and_what_it_calls_of_ours_is_ours() -> None:
    def hook(pairs: list) -> None:
        typed({}, name=str)

    assert raised_within(raised(lambda: json.dumps({1, 2})), "json")
    assert not raised_within(raised(lambda: json.loads("{}", object_pairs_hook=hook)), "json")


def test_the_nearest_name_is_offered_where_one_is_near() -> None:
    assert closest("fodl", ["fold", "seed"]) == " Did you mean 'fold'?" and closest("xyz", ["fold"]) == ""
