"""Faces to tracks: who is whom from frame to frame, and which tracks stay."""

import numpy as np
import pytest
from rendered import filmed

from deepfake.forgery.points import FIVE_TEMPLATE
from deepfake.media.tracks import choose_tracks, link_faces

NUM_FRAMES = 16


def face(x, y=300.0, side=100.0):
    """A frontal face around a centre: box (4,), landmarks (5, 2)."""
    half = side / 2
    return np.array([x - half, y - half, x + half, y + half]), [x, y] + FIVE_TEMPLATE * half


def clip(*frames):
    """Frames as tuples of faces, each (x, y, side) or the first of them: what link_faces takes."""
    faces = [[face(*np.atleast_1d(one)) for one in frame] for frame in frames]
    boxes = [np.array([box for box, _ in frame], np.float32).reshape(-1, 4) for frame in faces]
    return boxes, [np.array([points for _, points in frame], np.float32).reshape(-1, 5, 2) for frame in faces]


def linked(*frames):
    return [ids.tolist() for ids in link_faces(*clip(*frames))]


# --- who is whom


def test_one_frame_has_a_track_for_each_face_the_largest_first():
    (ids,) = link_faces(*clip([(100, 300, 50), (400, 300, 90), (800, 300, 70)]))
    assert (ids.tolist(), ids.dtype) == ([2, 0, 1], np.int64)


def test_frames_without_faces_have_no_ids():
    assert linked([], []) == [[], []]
    assert linked([], [100], []) == [[], [0], []]


def test_ids_fall_with_the_area_over_the_clip_and_a_tie_goes_to_the_first_seen():
    assert linked([(100, 300, 80), (900, 300, 100)], [(100, 300, 80)]) == [[0, 1], [0]]
    assert linked([100, 900], [900, 100]) == [[0, 1], [1, 0]]
    assert linked([900], [900, 100], [100]) == [[0], [0, 1], [1]]


def test_a_head_that_moves_by_its_own_width_stays_itself():
    assert linked(*[[(100 + 120 * t, 300 + 30 * (t % 2))] for t in range(8)]) == [[0]] * 8


def test_two_who_walk_side_by_side_stay_themselves():
    assert linked(*[[(100 + 50 * t, 300), (230 + 50 * t, 310)] for t in range(8)]) == [[0, 1]] * 8


def test_two_who_cross_are_told_apart_by_their_size():
    frames = [[(100 + 60 * t, 300, 100), (580 - 60 * t, 300, 140)] for t in range(9)]
    assert linked(*frames) == [[1, 0]] * 9


@pytest.mark.parametrize("gap", [1, 4, 9])
def test_who_comes_back_near_the_same_place_is_still_the_same(gap):
    assert linked([500], *[[]] * gap, [560]) == [[0], *[[]] * gap, [0]]


def test_who_was_just_seen_comes_before_who_is_long_gone():
    assert linked([300, 600], [300], [300], [300], [460]) == [[0, 1], [0], [0], [0], [0]]
    assert linked([300, 600], [300], [300], [300], [500]) == [[0, 1], [0], [0], [0], [1]]


def test_who_enters_elsewhere_is_somebody_else():
    assert linked([200], [210], [900], [910]) == [[0], [0], [1], [1]]


def test_a_cut_to_a_close_up_at_the_same_place_is_somebody_else():
    assert linked([(500, 300, 60)], [(500, 300, 60)], [(510, 300, 200)]) == [[1], [1], [0]]


def test_a_false_find_beside_a_face_takes_nothing_from_it():
    assert linked([500], [500, (560, 420, 50)], [505]) == [[0], [0, 1], [0]]


def test_a_face_out_of_reach_pushes_nobody_from_the_nearest():
    assert linked([100, 400], [300, 750]) == [[1, 0], [0, 2]]


def test_faces_of_one_frame_never_share_a_track():
    assert linked([500], [500, 505, 510]) == [[0], [0, 1, 2]]


# --- what the ids do not depend on


@pytest.mark.parametrize("scale", [0.3, 4.0])
def test_ids_are_the_same_in_a_larger_picture_and_elsewhere_in_it(scale):
    boxes, points, _ = draw_clip(np.random.default_rng(3))
    moved = [scale * each + 1000 for each in boxes], [scale * each + 1000 for each in points]
    for ids, same in zip(link_faces(boxes, points), link_faces(*moved), strict=True):
        np.testing.assert_array_equal(ids, same)


def test_ids_do_not_depend_on_the_order_of_a_frames_faces():
    boxes, points, _ = draw_clip(np.random.default_rng(4))
    turned = link_faces([each[::-1] for each in boxes], [each[::-1] for each in points])
    for ids, same in zip(link_faces(boxes, points), turned, strict=True):
        np.testing.assert_array_equal(ids, same[::-1])


# --- clips drawn by chance


def draw_clip(rng):
    """Two to four people about their places, one walking, with misses and false finds: boxes, landmarks, persons."""
    num_people = rng.integers(2, 5)
    home = np.stack([300 + 420 * np.arange(num_people), rng.uniform(250, 450, num_people)], 1)
    side = rng.uniform(80, 180, num_people)
    speed = np.zeros((num_people, 2))
    speed[0, 0] = rng.uniform(0, 1.2) * side[0]
    frames, persons, sway = [], [], rng.normal(size=(num_people, 2))
    for frame in range(NUM_FRAMES):
        sway = 0.5 * sway + 0.87 * rng.normal(size=sway.shape)
        centre = home + speed * frame + 0.25 * side[:, None] * sway * [1, 0.4]
        seen = np.flatnonzero(rng.random(num_people) > 0.1)
        sizes = side * np.exp(rng.normal(0, 0.05, num_people))
        faces = [(*centre[person], sizes[person]) for person in seen]
        false = rng.random() < 0.1
        frames.append(faces + [(rng.uniform(0, 1900), rng.uniform(700, 1000), rng.uniform(50, 150))] * false)
        persons.append(seen.tolist() + [-1] * false)
    return *clip(*frames), persons


def count_switches(ids, persons):
    """How often a person's next find lies in another track, and of how many."""
    last, switches, links = {}, 0, 0
    for ids_of_frame, persons_of_frame in zip(ids, persons, strict=True):
        for track, person in zip(ids_of_frame.tolist(), persons_of_frame, strict=True):
            if person >= 0:
                switches += last.get(person, track) != track
                links += person in last
                last[person] = track
    return switches, links


def test_few_links_of_drawn_clips_are_wrong():
    counts = []
    for seed in range(200):
        boxes, points, persons = draw_clip(np.random.default_rng(seed))
        counts.append(count_switches(link_faces(boxes, points), persons))
    switches, links = np.sum(counts, 0)
    assert links > 5000
    assert switches < 0.02 * links


# --- rendered heads


@pytest.fixture(scope="module")
def two_heads():
    """Two rendered people side by side in eight frames, the left one cut out of the fourth."""
    camera = {"height": 240, "width": 200, "px_per_unit": 55.0, "centre_xy": (100.0, 110.0)}
    boxes, landmarks = [[] for _ in range(8)], [[] for _ in range(8)]
    for seed in (0, 1):
        for frame, (outline, five) in enumerate(filmed(seed, 0.7 * np.arange(8), **camera)):
            if (seed, frame) != (0, 3):
                right_px = np.array([200 * seed, 0])
                boxes[frame].append(np.concatenate([outline.min(0) + right_px, outline.max(0) + right_px]))
                landmarks[frame].append(five + right_px)
    return [np.array(each, np.float32) for each in boxes], [np.array(each, np.float32) for each in landmarks]


def test_two_people_side_by_side_are_two_tracks(two_heads):
    ids = link_faces(*two_heads)
    left, right = ids[0].tolist()
    assert {left, right} == {0, 1}
    assert [each.tolist() for each in ids] == [[left, right]] * 3 + [[right]] + [[left, right]] * 4


# --- which tracks stay


def choose(ids, probs=None, sides=None, **changes):
    """choose_tracks over ids (one list a frame) with faces of the given sides, by track."""
    ids = [np.array(each, np.int64) for each in ids]
    sides = np.array(sides or [100] * 9, np.float32)
    boxes = [np.stack([0 * each, 0 * each, sides[each], sides[each]], 1).astype(np.float32) for each in ids]
    probs = np.array(probs or [1.0] * 9, np.float32)
    options = {"faces": "all", "min_track": 0.0, "min_track_prob": 0.0} | changes
    return choose_tracks(ids, [probs[each] for each in ids], boxes, **options)


def kept_ids(kept, ids):
    return [[track for track, stays in zip(*pair) if stays] for pair in zip(ids, kept.masks, strict=True)]


def test_without_bounds_everything_stays():
    ids = [[0, 1], [], [1, 2]]
    kept = choose(ids)
    assert kept_ids(kept, ids) == ids
    assert [(mask.dtype, len(mask)) for mask in kept.masks] == [(bool, 2), (bool, 0), (bool, 2)]
    assert (kept.short, kept.weak, kept.unwanted) == (0, 0, 0)


def test_frames_without_faces_keep_nothing():
    kept = choose([[], []], faces="largest", min_track=0.5)
    assert [mask.tolist() for mask in kept.masks] == [[], []]
    assert (kept.short, kept.weak, kept.unwanted) == (0, 0, 0)


def test_a_track_is_as_sure_as_its_surest_face():
    ids = [np.array([0, 1]), np.array([1, 0])]
    probs = [np.array([0.5, 0.8], np.float32), np.array([0.7, 0.9], np.float32)]
    boxes = [np.zeros((2, 4), np.float32)] * 2
    kept = choose_tracks(ids, probs, boxes, faces="all", min_track=0.0, min_track_prob=0.9)
    assert [mask.tolist() for mask in kept.masks] == [[True, False], [False, True]]
    assert kept.weak == 1


def test_where_all_are_weak_nothing_stays():
    kept = choose([[0, 1], [0]], probs=[0.5, 0.6], min_track_prob=0.7, min_track=0.9)
    assert [mask.any() for mask in kept.masks] == [False, False]
    assert (kept.short, kept.weak) == (0, 2)


def test_a_tenth_of_sixteen_frames_is_two_of_them():
    ids = [[0, 1, 2], [0, 1]] + [[0]] * 14
    kept = choose(ids, min_track=0.1)
    assert kept_ids(kept, ids) == [[0, 1], [0, 1]] + [[0]] * 14
    assert kept.short == 1


@pytest.mark.parametrize(("num_frames", "share"), [(10, 0.3), (100, 0.07), (30, 0.1), (1, 1.0)])
def test_just_enough_frames_are_enough(num_frames, share):
    seen = round(share * num_frames)
    ids = [[0, 1]] * seen + [[0]] * (num_frames - seen)
    assert kept_ids(choose(ids, min_track=share), ids) == ids


def test_short_tracks_stay_where_there_is_nothing_else():
    ids = [[0], [], [1], []]
    kept = choose(ids, min_track=0.5)
    assert kept_ids(kept, ids) == ids
    assert kept.short == 0


def test_a_long_track_that_is_weak_does_not_drop_the_short_ones():
    ids = [[0, 1], [0], [0], [0]]
    kept = choose(ids, probs=[0.5, 1.0], min_track=0.5, min_track_prob=0.9)
    assert kept_ids(kept, ids) == [[1], [], [], []]
    assert (kept.short, kept.weak) == (0, 1)


def test_no_track_of_an_image_is_short():
    kept = choose([[0, 1]], min_track=1.0)
    assert kept.masks[0].all()
    assert kept.short == 0


@pytest.mark.parametrize(
    ("faces", "stay", "unwanted"), [("all", [0, 1, 2], 0), ("largest", [2], 2), ("top2", [1, 2], 1)]
)
def test_the_largest_by_total_area_are_chosen(faces, stay, unwanted):
    ids = [[0, 1, 2], [0, 1, 2], [2]]
    kept = choose(ids, sides=[40, 50, 44], faces=faces)
    assert kept_ids(kept, ids)[0] == stay
    assert kept.unwanted == unwanted


def test_equal_areas_are_chosen_by_the_lower_id():
    assert kept_ids(choose([[1, 0]], faces="largest"), [[1, 0]]) == [[0]]


def test_the_largest_is_chosen_among_those_that_are_left():
    ids = [[0, 1, 2, 3], [0, 2, 3], [0, 2, 3]]
    kept = choose(ids, probs=[0.5, 1, 1, 1], sides=[90, 80, 20, 10], faces="largest", min_track=0.5, min_track_prob=0.9)
    assert kept_ids(kept, ids) == [[2]] * 3
    assert (kept.short, kept.weak, kept.unwanted) == (1, 1, 1)


def test_an_unknown_choice_is_refused():
    with pytest.raises(ValueError, match="faces='top3'; allowed: all, largest, top2"):
        choose([[0]], faces="top3")
