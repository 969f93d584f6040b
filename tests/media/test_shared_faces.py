"""Real photographs and clips, where they lie beside the repository: as good as facenet-pytorch's own detection."""

from functools import cache
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import torch
from facenet_pytorch import MTCNN
from pipeline import REPOSITORY
from torchvision.ops import box_iou

from deepfake.media.detect import FaceDetector
from deepfake.media.medium import Limits
from deepfake.media.video import open_medium

SHARED = REPOSITORY.parent / "shared/media"
STILLS = {".jpg", ".png"}
MAX_PX = 1.5e6

pytestmark = pytest.mark.skipif(not (SHARED / "detect").is_dir(), reason=f"no {SHARED / 'detect'}")
torch.set_num_threads(1)


@cache
def stills():
    """Pictures below MAX_PX by file name, RGB."""
    pictures = {
        path.name: cv2.imread(str(path))[..., ::-1].copy()
        for path in sorted((SHARED / "detect").iterdir())
        if path.suffix in STILLS
    }
    return {name: image for name, image in pictures.items() if image.shape[0] * image.shape[1] < MAX_PX}


def by_reference(detector, image):
    """Boxes (N, 4), probabilities (N,) and landmarks (N, 5, 2) that facenet-pytorch finds."""
    found = detector.detect(image, landmarks=True)
    if found[0] is None:
        return torch.empty((0, 4)), torch.empty(0), torch.empty((0, 5, 2))
    return tuple(torch.from_numpy(part.astype(np.float32)) for part in found)


@cache
def faces_of_stills():
    """By file name: what we find at probability .9 and up, and all that the reference does."""
    ours = FaceDetector(detect_size=0, min_face=20, min_prob=0.9, search_every=1, device="cpu")
    theirs = MTCNN(keep_all=True, min_face_size=20, device="cpu")
    found = dict(zip(stills(), ours.detect(list(stills().values())), strict=True))
    return {name: (found[name], by_reference(theirs, image)) for name, image in stills().items()}


@cache
def drawn_boxes():
    """By file name: boxes that people drew (N, 4), and whether each is to be left out of the count."""
    drawn = {}
    for listing in (SHARED / "detect").glob("*_with_face_landmarks.xml"):
        for picture in ElementTree.parse(listing).iter("image"):
            boxes = [
                [float(box.get(name)) for name in ("left", "top", "width", "height")] for box in picture.iter("box")
            ]
            boxes_xywh = torch.tensor(boxes).reshape(-1, 4)
            boxes_xyxy = torch.cat([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]], 1)
            drawn[picture.get("file")] = boxes_xyxy, [box.get("ignore") == "1" for box in picture.iter("box")]
    return drawn


def hits(boxes_xyxy, drawn_xyxy):
    """Drawn boxes that are found at IoU .5, each by a box of its own, most certain first: index → index."""
    overlap, taken = box_iou(boxes_xyxy, drawn_xyxy), {}
    for number in range(len(boxes_xyxy)):
        free = [(float(overlap[number, other]), other) for other in range(len(drawn_xyxy)) if other not in taken]
        best = max(free, default=(0.0, -1))
        if best[0] >= 0.5:
            taken[best[1]] = number
    return taken


def precision_and_recall(found):
    """Against the drawn boxes, of boxes by file name; what lies on an ignored box counts for nothing."""
    right = num_found = num_drawn = 0
    for name, (drawn_xyxy, ignored) in drawn_boxes().items():
        taken = hits(found[name], drawn_xyxy)
        num_ignored = sum(ignored[other] for other in taken)
        right += len(taken) - num_ignored
        num_found += len(found[name]) - num_ignored
        num_drawn += len(ignored) - sum(ignored)
    return right / num_found, right / num_drawn


def test_every_face_of_the_reference_is_found_and_no_other():
    total = 0
    for name, (ours, (boxes_xyxy, probs, landmarks_xy)) in faces_of_stills().items():
        sure = probs >= 0.9
        assert len(ours) == int(sure.sum()), name
        if len(ours):
            best, index = box_iou(boxes_xyxy[sure], torch.from_numpy(ours.boxes_xyxy)).max(1)
            assert best.min() >= 0.98, name
            assert len(set(index.tolist())) == len(ours), name
            assert np.abs(ours.landmarks_xy[index] - landmarks_xy[sure].numpy()).max() < 1, name
        total += len(ours)
    print(f"\n{total} faces in {len(stills())} pictures")
    assert total > 30


def test_precision_and_recall_are_no_lower_than_the_references():
    both = faces_of_stills()
    ours = precision_and_recall({name: torch.from_numpy(both[name][0].boxes_xyxy) for name in drawn_boxes()})
    theirs = precision_and_recall({name: both[name][1][0][both[name][1][1] >= 0.9] for name in drawn_boxes()})
    for who, (precision, recall) in {"ours": ours, "facenet-pytorch's": theirs}.items():
        print(f"\n{who}: precision {precision:.4f}, recall {recall:.4f}")
    assert ours[0] >= theirs[0]
    assert ours[1] >= theirs[1]
    assert ours[1] > 0.5


def test_following_finds_the_faces_of_clips():
    """8 clips of 16 frames, against the reference in frames reduced to 640 px."""
    follower = FaceDetector(detect_size=640, min_face=24, min_prob=0.9, search_every=8, device="cpu")
    reference = MTCNN(keep_all=True, min_face_size=24, device="cpu")
    found = expected = 0
    for path in sorted((SHARED / "stylegan140k_clips/train").glob("*.mp4"))[:8]:
        frames = [frame.image_HWC for frame in open_medium(path, "video", 16, Limits(100, 60))]
        for ours, frame in zip(follower.follow(frames), frames, strict=True):
            scale = min(1, 640 / max(frame.shape))
            size = [round(side * scale) for side in frame.shape[1::-1]]
            boxes_xyxy, probs, _ = by_reference(reference, cv2.resize(frame, size, interpolation=cv2.INTER_AREA))
            overlap = box_iou(boxes_xyxy[probs >= 0.95] / scale, torch.from_numpy(ours.boxes_xyxy))
            expected += len(overlap)
            found += int((overlap >= 0.7).any(1).sum())
    print(f"\n{found} of {expected} faces")
    assert expected >= 8 * 16 * 0.9
    assert found >= 0.99 * expected
