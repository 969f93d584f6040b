"""Face detection side by side: facenet-pytorch's MTCNN and ours, on the same frames of one video at a time.

    python benchmarks/detect.py

On rendered people in 720p and 1080p. Writes benchmarks/results/detect-<hardware>.md.

Both search every frame in full, at a longest side of 640 px, faces from 24 px up. Theirs is given all frames of a video
at once, reduced before by OpenCV, as published solutions do. Ours is given the frames as they are.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from machine import RESULTS, hardware, slug, table

DETECT_SIZE, MIN_FACE, MIN_PROB, SAME_IOU = 640, 24, 0.9, 0.7
SIZES = {"720p": (720, 1280), "1080p": (1080, 1920)}

Boxes = list[np.ndarray]  # of each frame (K, 4), px of the frame


def theirs(device: str) -> Callable[[np.ndarray], Boxes]:
    import cv2
    from facenet_pytorch import MTCNN

    mtcnn = MTCNN(keep_all=True, min_face_size=MIN_FACE, device=device)

    def detect(frames: np.ndarray) -> Boxes:
        height, width = frames.shape[1:3]
        shrink = DETECT_SIZE / max(height, width)
        size = (round(width * shrink), round(height * shrink))
        small = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])
        found, probs = mtcnn.detect(small)
        return [
            np.empty((0, 4)) if boxes is None else boxes[prob >= MIN_PROB] / shrink
            for boxes, prob in zip(found, probs, strict=True)
        ]

    return detect


def ours(device: str) -> Callable[[np.ndarray], Boxes]:
    from deepfake.media.detect import FaceDetector

    detector = FaceDetector(
        detect_size=DETECT_SIZE, min_face=MIN_FACE, min_prob=MIN_PROB, search_every=1, device=device
    )
    return lambda frames: [faces.boxes_xyxy for faces in detector.detect(list(frames))]


def share_found(boxes: Boxes, others: Boxes) -> float:
    """Of all boxes those that have one of the others at SAME_IOU."""
    from extract import iou

    pairs = [(box, other) for box, other in zip(boxes, others, strict=True)]
    hits = sum(any(iou(one, two) >= SAME_IOU for two in other) for box, other in pairs for one in box)
    return hits / max(1, sum(len(box) for box in boxes))


def measure(frames: np.ndarray, seconds: float) -> dict[str, float]:
    """Frames a second of both, which take turns for `seconds` at least and thrice, medians; their ratio; shares of
    faces that the other has too."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    arms = {"theirs": theirs(device), "ours": ours(device)}
    found = {name: detect(frames) for name, detect in arms.items()}  # the first call sets things up
    taken: dict[str, list[float]] = {name: [] for name in arms}
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(taken["ours"]) < 3:
        for name, detect in arms.items():
            began = time.perf_counter()
            detect(frames)
            taken[name].append(time.perf_counter() - began)
    speed = {name: len(frames) / statistics.median(values) for name, values in taken.items()}
    return speed | {
        "ratio": speed["ours"] / speed["theirs"],
        "theirs_found": share_found(found["theirs"], found["ours"]),
        "ours_found": share_found(found["ours"], found["theirs"]),
    }


def all_sizes(count: int, seconds: float) -> Iterator[tuple[str, dict[str, float]]]:
    """Name of each size, and what measure gives for `count` frames of it."""
    import people

    for name, (height, width) in SIZES.items():
        yield name, measure(people.frames(1, height, width, count), seconds)


def describe(results: dict[str, dict[str, float]], count: int) -> str:
    rows = [
        [
            name,
            *(f"{one[arm]:.1f}" for arm in ("theirs", "ours")),
            f"{one['ratio']:.1f}",
            *(f"{one[key]:.1%}" for key in ("theirs_found", "ours_found")),
        ]
        for name, one in results.items()
    ]
    head = [
        "frames",
        "facenet-pytorch, frames/s",
        "ours, frames/s",
        "ratio",
        "of theirs ours has",
        "of ours theirs has",
    ]
    return (
        f"{count} frames a video, each searched in full; faces are the same at IoU {SAME_IOU}.\n\n{table(head, rows)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=32, help="of a video")
    parser.add_argument("--seconds", type=float, default=20, help="that each size takes at least")
    args = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
    told = f"# Detection on {hardware(gpu=True)}\n\n{describe(dict(all_sizes(args.frames, args.seconds)), args.frames)}"
    path = RESULTS / f"detect-{slug(hardware(gpu=True))}.md"
    path.write_text(told)
    print(f"{told}\nwrote {path}")


if __name__ == "__main__":
    main()
