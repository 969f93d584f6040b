"""Faces that are found on a card are those that are found on the CPU, and that facenet-pytorch finds on that card."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rendered import person, photographed
from torchvision.ops import box_iou

from deepfake.media.area import SummedArea
from deepfake.media.detect import FaceDetector

pytestmark = pytest.mark.cuda


@pytest.fixture(scope="module")
def pictures():
    """Sixteen of people, 360 x 480 px, one to each."""
    heads = [person(seed, height=360, width=480, px_per_unit=90.0, centre_xy=(240.0, 175.0)) for seed in range(16)]
    return [photographed(head) for head in heads]


def found_on(device, pictures):
    detector = FaceDetector(detect_size=0, min_face=24, min_prob=0.9, search_every=4, device=device)
    return detector.detect(pictures)


def share_within(boxes, others):
    """Of all boxes, by picture, those that have one of the others at IoU .9."""
    near = [box_iou(torch.from_numpy(one), torch.from_numpy(other)) for one, other in zip(boxes, others, strict=True)]
    hits = sum(int((iou.max(1).values > 0.9).sum()) for iou in near if iou.numel())
    return hits / sum(len(one) for one in boxes)


def test_faces_are_those_of_the_cpu_and_of_facenet_pytorch_on_the_card(card, pictures):
    from facenet_pytorch import MTCNN

    ours = [faces.boxes_xyxy for faces in found_on(card.type, pictures)]
    on_cpu = [faces.boxes_xyxy for faces in found_on("cpu", pictures)]
    theirs, probs = MTCNN(keep_all=True, min_face_size=24, device=card).detect(np.stack(pictures))
    theirs = [
        boxes[prob >= 0.9].astype(np.float32) if boxes is not None else np.empty((0, 4), np.float32)
        for boxes, prob in zip(theirs, probs, strict=True)
    ]
    assert sum(len(boxes) for boxes in theirs) >= 14
    assert share_within(ours, on_cpu) == share_within(on_cpu, ours) == 1
    assert share_within(theirs, ours) == share_within(ours, theirs) == 1


def test_following_finds_the_same_on_the_card(card, pictures):
    clip = [np.roll(pictures[0], shift, axis=1) for shift in range(0, 24, 3)]
    there, here = (
        FaceDetector(detect_size=0, min_face=24, min_prob=0.9, search_every=4, device=device).follow(clip)
        for device in (card.type, "cpu")
    )
    assert [len(faces) for faces in there] == [len(faces) for faces in here] == [1] * 8
    for one, other in zip(there, here, strict=True):
        np.testing.assert_allclose(one.boxes_xyxy, other.boxes_xyxy, atol=1.5)
        np.testing.assert_allclose(one.landmarks_xy, other.landmarks_xy, atol=1.5)


def test_sums_of_pictures_are_whole_numbers_on_the_card_too(card):
    images = [np.full((701, 1203, 3), 255, np.uint8), np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)]
    assert torch.equal(SummedArea(images, card.type).sums.cpu(), SummedArea(images, "cpu").sums)
