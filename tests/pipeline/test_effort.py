"""What an inference gives up for time: forecasts for paper, in passes of one second."""

import pytest

from deepfake.learn.views import passes
from deepfake.pipeline.effort import MARGIN, RISE, STRIDES, Clock, Effort, efforts

DAY_S = 86400.0


def halving(crops):
    """Crops left of clips of many frames."""
    return {stride: crops / stride for stride in STRIDES}


def timed(budget_s, view_passes=(1,), members=1):
    """A clock that has seen a pass take a second."""
    clock = Clock(budget_s, view_passes, members)
    clock.scored(1, sum(view_passes) * members)
    return clock


def test_views_are_given_up_first_then_frames_then_models():
    assert efforts([1, 1, 5], 3) == [
        Effort(3, 1, 3),
        Effort(2, 1, 3),
        Effort(1, 1, 3),
        Effort(1, 2, 3),
        Effort(1, 4, 3),
        Effort(1, 8, 3),
        Effort(1, 8, 2),
        Effort(1, 8, 1),
    ]


def test_one_model_and_one_view_have_frames_alone_to_give_up():
    assert efforts([1], 1) == [Effort(1, stride, 1) for stride in (1, 2, 4, 8)]


def test_what_is_left_of_the_full_effort_is_told_in_words():
    full = Effort(3, 1, 5)
    assert full.says(full) == "3 of 3 views, all frames, 5 of 5 models"
    assert Effort(1, 2, 5).says(full) == "1 of 3 views, every 2nd frame, 5 of 5 models"
    assert Effort(1, 8, 1).says(full) == "1 of 3 views, every 8th frame, 1 of 5 models"


def test_without_a_budget_nothing_is_given_up_and_the_deadline_never_comes():
    clock = timed(0, (1, 1), 2)
    assert not clock.decide(DAY_S, halving(1e9), 10**6)
    assert clock.effort == clock.full == Effort(2, 1, 2)
    assert clock.deadline_s() > 1e300


@pytest.mark.parametrize(("budget_s", "deadline_s"), [(1000, 960), (60, 57), (75, 72)])
def test_the_deadline_leaves_a_twenty_fifth_and_three_seconds_at_least(budget_s, deadline_s):
    assert Clock(budget_s, (1,), 1).deadline_s() == pytest.approx(deadline_s)


def test_before_anything_is_measured_nothing_is_given_up():
    clock = Clock(60, (1, 1), 2)
    assert not clock.known
    assert not clock.decide(0.0, halving(1e6), 1000)
    assert clock.crops_in(10.0) == 1


def test_a_forecast_is_the_time_of_a_pass_times_the_passes_left():
    """4 crops x 2 views x 3 models in 12 s: half a second a pass."""
    clock = Clock(1000, (1, 1), 3)
    clock.scored(4, 12.0)
    assert clock.known
    assert clock.forecast_s(halving(80), 0, Effort(2, 1, 3)) == pytest.approx(80 * 6 * 0.5)
    assert clock.forecast_s(halving(80), 0, Effort(1, 1, 3)) == pytest.approx(80 * 3 * 0.5)
    assert clock.forecast_s(halving(80), 0, Effort(1, 4, 3)) == pytest.approx(20 * 3 * 0.5)
    assert clock.forecast_s(halving(80), 0, Effort(1, 8, 1)) == pytest.approx(10 * 1 * 0.5)


def test_five_crops_count_as_five_passes():
    """(1 + 5) passes a crop: without the second view a sixth of the time."""
    clock = Clock(1000, [passes(view) for view in ("identity", "five_crop")], 1)
    clock.scored(10, 60.0)
    assert clock.forecast_s(halving(10), 0, Effort(2, 1, 1)) == pytest.approx(60)
    assert clock.forecast_s(halving(10), 0, Effort(1, 1, 1)) == pytest.approx(10)


def test_what_was_scored_with_less_effort_tells_the_same_of_a_pass():
    clock = timed(100, (1, 3), 2)
    assert clock.decide(0.0, halving(20), 0)
    assert clock.effort == Effort(1, 1, 2)
    clock.scored(10, 20.0)
    assert clock.forecast_s(halving(10), 0, Effort(2, 1, 2)) == pytest.approx(80)


def test_cutting_takes_a_fixed_share_whatever_the_stride():
    """2 s a medium: 0.8 s that stay, 1.2 s that half as many frames halve."""
    clock = Clock(1000, (1,), 1)
    clock.waited(5, 10.0)
    nothing = halving(0)
    assert clock.forecast_s(nothing, 100, Effort(1, 1, 1)) == pytest.approx(200)
    assert clock.forecast_s(nothing, 100, Effort(1, 2, 1)) == pytest.approx(100 * (0.8 + 0.6))
    assert clock.forecast_s(nothing, 100, Effort(1, 8, 1)) == pytest.approx(100 * (0.8 + 0.15))


def test_cutting_that_was_measured_at_a_stride_is_known_for_all_frames_too():
    clock = timed(100)
    assert clock.decide(0.0, halving(150), 0)
    assert clock.effort.stride == 2
    clock.waited(10, 14.0)
    assert clock.forecast_s(halving(0), 10, Effort(1, 1, 1)) == pytest.approx(20)


def test_scoring_and_cutting_add_up():
    clock = timed(1000)
    clock.waited(1, 2.0)
    assert clock.forecast_s(halving(30), 10, Effort(1, 1, 1)) == pytest.approx(30 + 20)


@pytest.mark.parametrize(
    ("crops", "effort"),
    [
        (21, Effort(2, 1, 2)),  # 84 s of 96, with the margin 92.4
        (22, Effort(1, 1, 2)),  # 88 s would be 96.8
        (44, Effort(1, 2, 2)),
        (100, Effort(1, 4, 2)),
        (340, Effort(1, 8, 2)),  # 85 s
        (360, Effort(1, 8, 1)),
        (10**6, Effort(1, 8, 1)),  # nothing is left to give up
    ],
)
def test_just_enough_is_given_up(crops, effort):
    assert MARGIN == 1.1
    clock = timed(100, (1, 1), 2)
    assert clock.decide(0.0, halving(crops), 0) == (effort != clock.full)
    assert clock.effort == effort


def test_the_time_that_is_gone_counts():
    clock = timed(100)
    assert not clock.decide(30.0, halving(60), 0)  # 66 s are left
    assert clock.decide(30.1, halving(60), 0)


def test_what_was_given_up_is_taken_up_again_where_that_fits_with_room_to_spare():
    """Two models. 96 s are left; two views take 4 s a crop, and are taken up again where a fifth more would fit."""
    assert RISE == 1.2
    clock = timed(100, (1, 1), 2)
    assert clock.decide(0.0, halving(22), 0)
    assert clock.effort == Effort(1, 1, 2)
    assert not clock.decide(0.0, halving(20.1), 0)  # 80.4 s, with the room 96.5
    assert clock.effort == Effort(1, 1, 2)
    assert clock.decide(0.0, halving(20), 0)  # 80 s: 96
    assert clock.effort == clock.full


def test_it_is_taken_up_level_by_level_as_far_as_it_fits():
    clock = timed(100, (1, 1), 2)
    assert clock.decide(0.0, halving(340), 0)
    assert clock.effort == Effort(1, 8, 2)
    assert clock.decide(0.0, halving(60), 0)
    assert clock.effort == Effort(1, 2, 2)  # 60 s, with the room 72; all frames would be 144
    assert clock.decide(0.0, halving(1), 0)
    assert clock.effort == clock.full


def test_forecasts_that_go_up_and_down_by_a_twelfth_do_not_make_it_flutter():
    clock = timed(100, (1, 1), 2)
    assert clock.decide(0.0, halving(22), 0)
    for crops in (20.1, 21.8, 20.5, 21.8, 20.1):
        assert not clock.decide(0.0, halving(crops), 0)


def test_where_cutting_has_to_be_waited_for_more_frames_have_to_leave_room_for_that_too():
    """40 s of scoring at half the frames, 80 at all; 20 media to be cut, 1 s each with all frames."""
    clock = timed(200)
    assert clock.decide(100.0, halving(90), 0)
    assert clock.effort.stride == 2
    clock.waited(10, 7.0)
    assert not clock.decide(72.1, halving(80), 20)  # 119.9 s are left for 100
    assert clock.decide(72.0, halving(80), 20)


def test_old_measurements_are_forgotten():
    """A hiccup of 10 s in 8 crops; then 20 times 8 crops in a tenth of a second."""
    clock = Clock(600, (1,), 1)
    clock.scored(8, 10.0)
    for _ in range(20):
        clock.scored(8, 0.1)
    each_s = clock.forecast_s(halving(1), 0, clock.full)
    assert 0.1 / 8 < each_s < 0.5 * (10.0 + 20 * 0.1) / (21 * 8)
    for _ in range(80):
        clock.scored(8, 0.1)
    assert clock.forecast_s(halving(1), 0, clock.full) == pytest.approx(0.1 / 8, rel=0.01)


def test_old_waiting_is_forgotten():
    clock = Clock(600, (1,), 1)
    clock.waited(4, 30.0)
    for _ in range(80):
        clock.waited(4, 2.0)
    assert clock.forecast_s(halving(0), 10, clock.full) == pytest.approx(5, rel=0.01)


def test_pictures_have_no_frames_to_give_up():
    """100 pictures, two models: 200 s whatever the stride, so that a model has to go."""
    clock = timed(150, (1,), 2)
    assert clock.decide(0.0, dict.fromkeys(STRIDES, 100), 0)
    assert clock.effort == Effort(1, 8, 1)
    assert clock.forecast_s(dict.fromkeys(STRIDES, 100), 0, clock.effort) == pytest.approx(100)


def test_the_crops_of_some_seconds_are_those_of_the_present_effort():
    """A crop takes 2 views x 2 models = 4 s, later 2 s."""
    clock = timed(100, (1, 1), 2)
    assert (clock.crops_in(9.0), clock.crops_in(12.0), clock.crops_in(1.0)) == (2, 3, 1)
    assert clock.decide(0.0, halving(30), 0)
    assert clock.crops_in(9.0) == 4
