"""The cascade of three networks: face by face what facenet-pytorch's own MTCNN finds, for whole batches."""

from functools import cache

import numpy as np
import pytest
import torch
from facenet_pytorch import MTCNN
from rendered import small_head

from deepfake.media import mtcnn
from deepfake.media.area import SummedArea
from deepfake.media.mtcnn import Candidates, Cascade, pyramid, squares

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def heads():
    return [small_head(seed, yaw_rad=0.1 * seed) for seed in range(6)]


@pytest.fixture(scope="module")
def pictures(heads):
    """Pictures by name, with faces and without."""
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    crowd = np.concatenate([np.concatenate(heads[:3], 1), np.concatenate(heads[3:], 1)])
    crowd[100:160, 90:140] = heads[1][::3, ::3][:, :50]  # a small one between the others
    return {
        "one head": heads[1],
        "a head cut off at the left": heads[1][:, 62:].copy(),
        "six heads and a small one": crowd,
        "noise": noise,
        "a head behind bars": np.where(np.arange(160)[:, None] % 8, heads[4][:120], noise),
        "odd sides": crowd[5:332, 7:402],
        "grey": np.full((50, 70, 3), 128, np.uint8),
    }


@pytest.fixture(scope="module")
def cascade():
    return Cascade("cpu")


def find(cascade, images, min_face):
    """Boxes (N, 4), probabilities (N,) and landmarks (N, 5, 2) of each picture; all are of one size."""
    tables = SummedArea(images, "cpu")
    with torch.inference_mode():
        candidates = cascade.propose(tables, pyramid(*images[0].shape[:2], min_face))
        faces, points = cascade.decide(tables, cascade.refine(tables, candidates))
    masks = [faces.picture == number for number in range(len(images))]
    return [(faces.boxes_xyxy[mask].numpy(), faces.scores[mask].numpy(), points[mask].numpy()) for mask in masks]


@cache
def reference_of(min_face):
    return MTCNN(keep_all=True, min_face_size=min_face, device="cpu")


def reference(image, min_face):
    """The same of one picture from facenet-pytorch."""
    found = reference_of(min_face).detect(image, landmarks=True)
    if found[0] is None:
        return np.empty((0, 4)), np.empty(0), np.empty((0, 5, 2))
    return tuple(part.astype(np.float64) for part in found)


def same(ours, theirs):
    """Face by face; in order of place, as probabilities that differ by rounding alone may stand either way round."""
    assert [len(part) for part in ours] == [len(part) for part in theirs]
    orders = [np.argsort(boxes[:, 0] + boxes[:, 1]) for boxes, _, _ in (ours, theirs)]
    for part, other, atol in zip(ours, theirs, (1e-2, 1e-5, 1e-2), strict=True):  # px, probability, px
        np.testing.assert_allclose(part[orders[0]], other[orders[1]], rtol=0, atol=atol)


# --- the reference


@pytest.mark.parametrize("min_face", [20, 36.5])
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("one head", 1),
        ("a head cut off at the left", 1),
        ("six heads and a small one", 7),
        ("noise", 0),
        ("a head behind bars", 1),
        ("odd sides", 5),
        ("grey", 0),
    ],
)
def test_faces_are_the_references(cascade, pictures, name, count, min_face):
    (ours,) = find(cascade, [pictures[name]], min_face)
    same(ours, reference(pictures[name], min_face))
    boxes, probs, _ = ours
    assert len(boxes) == count
    assert probs.tolist() == sorted(probs, reverse=True)


@pytest.mark.parametrize(
    ("name", "side"),
    [("pnet", (12, 12)), ("pnet", (13, 27)), ("pnet", (36, 51)), ("rnet", (24, 24)), ("onet", (48, 48))],
)
def test_the_networks_are_facenet_pytorchs(cascade, name, side):
    """Quicker pooling and all: even and odd sides."""
    theirs = getattr(MTCNN(device="cpu"), name)
    pixels = torch.rand((2, 3, *side), generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        answers = getattr(cascade, name)(pixels.clone()), theirs(pixels)
    for ours, expected in zip(*answers, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


# --- batches


def test_a_batch_gives_each_picture_its_own_faces(cascade, heads):
    images = [heads[0], np.zeros_like(heads[0]), heads[3], heads[3][:, ::-1].copy()]
    batch = find(cascade, images, 20)
    assert [len(boxes) for boxes, _, _ in batch] == [1, 0, 1, 1]
    for ours, image in zip(batch, images, strict=True):
        same(ours, find(cascade, [image], 20)[0])


def test_faces_of_one_picture_do_not_suppress_those_of_another(cascade, heads):
    batch = find(cascade, [heads[5]] * 3, 20)
    assert [len(boxes) for boxes, _, _ in batch] == [1, 1, 1]


# --- nothing to find


def candidates(*boxes, picture=None):
    count = len(boxes)
    boxes_xyxy = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Candidates(torch.tensor(picture or [0] * count, dtype=torch.int64), boxes_xyxy, torch.ones(count))


def test_without_candidates_there_are_no_faces(cascade):
    tables = SummedArea([np.full((50, 70, 3), 128, np.uint8)], "cpu")
    with torch.inference_mode():
        proposed = cascade.propose(tables, pyramid(50, 70, 20))
        refined = cascade.refine(tables, proposed)
        faces, points = cascade.decide(tables, refined)
    assert (len(proposed), len(refined), len(faces)) == (0, 0, 0)
    assert (faces.boxes_xyxy.shape, points.shape) == ((0, 4), (0, 5, 2))


def test_candidates_that_no_network_takes_for_a_face_leave_nothing(cascade):
    tables = SummedArea([np.full((50, 70, 3), 128, np.uint8)], "cpu")
    with torch.inference_mode():
        assert len(cascade.refine(tables, candidates([5, 5, 40, 40], [10, 0, 50, 40]))) == 0
        faces, points = cascade.decide(tables, candidates([5, 5, 40, 40], [10, 0, 50, 40]))
    assert (faces.boxes_xyxy.shape, points.shape) == ((0, 4), (0, 5, 2))


OUTSIDE = [[-80, 20, -2, 98], [20, -80, 98, 0], [161, 20, 240, 100], [20, 181, 100, 260], [1000, 1000, 1050, 1050]]


@pytest.mark.parametrize("outside", OUTSIDE)
def test_a_candidate_wholly_outside_is_left_out(cascade, heads, outside):
    """facenet-pytorch breaks off here: as many crops as candidates are taken for granted."""
    tables = SummedArea([heads[1], heads[2]], "cpu")
    with torch.inference_mode():
        alone = cascade.refine(tables, candidates([40, 45, 120, 125], picture=[1]))
        both = cascade.refine(tables, candidates(outside, [40, 45, 120, 125], picture=[0, 1]))
        nothing = cascade.refine(tables, candidates(outside))
        faces, points = cascade.decide(tables, candidates(outside, [40, 45, 120, 125], picture=[0, 1]))
    assert (len(alone), len(nothing)) == (1, 0)
    torch.testing.assert_close(both.boxes_xyxy, alone.boxes_xyxy, rtol=0, atol=1e-3)
    assert (both.picture.tolist(), faces.picture.tolist(), points.shape) == ([1], [1], (1, 5, 2))


def test_of_a_candidate_partly_outside_the_rest_is_looked_at(cascade, heads):
    """A head that is cut off at the left: what lies beyond the edge counts for nothing."""
    tables = SummedArea([heads[1][:, 60:].copy()], "cpu")
    with torch.inference_mode():
        over, within = (cascade.refine(tables, candidates([x, 45, 60, 125])) for x in (-20, 0))
    assert over.scores.tolist() == within.scores.tolist()
    assert len(over) == 1


# --- parts on paper


def test_a_pyramid_ends_where_the_picture_is_smaller_than_the_window():
    assert pyramid(100, 40, 20) == pytest.approx([0.6, 0.4254, 0.3016086])  # 24, 17.02 and 12.06 px; then 8.55
    assert pyramid(20, 20, 20) == [0.6]
    assert pyramid(19, 400, 20) == []
    assert pyramid(1, 1, 12) == []


def test_squares_keep_the_centre_and_the_longer_side():
    boxes = torch.tensor([[0.0, 0.0, 10.0, 4.0], [3.0, 1.0, 5.0, 9.0]])
    assert squares(boxes).tolist() == [[0, -3, 10, 7], [0, 1, 8, 9]]


def greedy(boxes, picture):
    """Kept or not, one face after another, most certain first."""
    kept = []
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        for better in (other for other in range(number) if kept[other] and picture[other] == picture[number]):
            u0, v0, u1, v1 = boxes[better]
            shared = max(0, min(x1, u1) - max(x0, u0) + 1) * max(0, min(y1, v1) - max(y0, v0) + 1)
            if shared / min((x1 - x0 + 1) * (y1 - y0 + 1), (u1 - u0 + 1) * (v1 - v0 + 1)) > 0.7:
                kept.append(False)
                break
        else:
            kept.append(True)
    return kept


@pytest.mark.parametrize("seed", range(6))
def test_suppression_is_the_greedy_one(seed):
    rng = np.random.default_rng(seed)
    corners, sides = rng.integers(0, 40, (60, 2)), rng.integers(4, 40, (60, 2))
    boxes = np.concatenate([corners, corners + sides], 1)
    picture = rng.integers(0, 2, 60).tolist()
    kept = mtcnn._not_within_better(candidates(*boxes.tolist(), picture=picture)).tolist()
    assert kept == greedy(boxes.tolist(), picture)
    assert 5 < sum(kept) < 55


def test_a_face_that_was_suppressed_suppresses_none():
    """10 × 10 px: each shares 8 of 10 columns with the one before, 6 with the one before that."""
    row = [[x, 0, x + 9, 9] for x in (0, 2, 4, 6, 8)]
    assert mtcnn._not_within_better(candidates(*row)).tolist() == [True, False, True, False, True]
    assert mtcnn._not_within_better(candidates(*row, picture=[0, 1, 0, 1, 0])).tolist() == [True] * 5
