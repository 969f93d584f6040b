"""Forgeries of training: crops a second on one core, and whether their sharpness gives them away.

    python benchmarks/forge.py                      # on rendered people
    python benchmarks/forge.py --pictures FOLDER    # on photographs that show a face each

Times each kind on 32 crops of 256 px. Then a gradient-boosted classifier that sees only band energies and the variance
of the Laplacian learns to tell real pictures from their forgeries; a picture and its forgeries are in one fold. An area
under the curve of .5 means that it cannot. Writes benchmarks/results/forge-<hardware>.md, for rendered people alone.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from machine import RESULTS, SOURCES, hardware, slug, table

sys.path.insert(0, str(SOURCES))

from deepfake.forgery.kinds import KINDS, forge
from deepfake.forgery.points import Face
from deepfake.forgery.pose import nearest_poses

SIDE, TIMED, ROUNDS, DONORS, BANDS = 256, 32, 9, 4, 8
LIGHT, COLOUR = slice(0, 1 + BANDS), slice(1 + BANDS, None)  # of what `bands` tells


def pictures(folder: Path | None, count: int) -> list[np.ndarray]:
    """So many pictures of SIDE px: the middles of a folder's files, or rendered people."""
    if folder is None:
        import people

        return [people.frames(seed, SIDE, SIDE, 1)[0] for seed in range(count)]
    made = []
    for path in sorted(folder.iterdir())[:count]:
        picture = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        top, left = ((side - SIDE) // 2 for side in picture.shape[:2])
        made.append(np.ascontiguousarray(picture[top : top + SIDE, left : left + SIDE]))
    return made


def faces(made: list[np.ndarray]) -> list[Face]:
    """Those that show a face, with its landmarks."""
    from deepfake.media.detect import FaceDetector

    detector = FaceDetector(detect_size=SIDE, min_face=40, min_prob=0.9, search_every=1, device="cpu")
    found = detector.detect(made)
    return [Face(crop, one.landmarks_xy[0]) for crop, one in zip(made, found, strict=True) if len(one)]


def forgeries(kind: str, reals: list[Face], donors: np.ndarray) -> list[np.ndarray]:
    """One of each real."""
    made = []
    for number, real in enumerate(reals):
        rng = np.random.default_rng((7, number))
        made.append(forge(kind, real, rng, reals[rng.choice(donors[number])]).crop_HW3)
    return made


def crops_per_second(kind: str, reals: list[Face], donors: np.ndarray) -> float:
    """Of one core: the median of ROUNDS passes over the first TIMED crops, by processor time."""
    taken = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for number in range(TIMED):
            forge(kind, reals[number], np.random.default_rng(number), reals[donors[number, 0]])
        taken.append(time.process_time() - began)
    return TIMED / statistics.median(taken)


def bands(picture_HW3: np.ndarray) -> np.ndarray:
    """Logarithms of the energies of brightness and two colours in rings of the Fourier transform, and of the variance
    of the Laplacian. Shape: (3 * BANDS + 1,)."""
    ycc = cv2.cvtColor(picture_HW3.astype(np.float32), cv2.COLOR_RGB2YCrCb)
    window = np.outer(np.hanning(SIDE), np.hanning(SIDE))
    ring = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE)))
    ring = (ring / ring.max() * BANDS * 0.9999).astype(int).ravel()
    told = [np.log(cv2.Laplacian(ycc[..., 0], cv2.CV_32F).var() + 1e-6)]
    for channel in range(3):
        plane = ycc[..., channel] - ycc[..., channel].mean()
        power = np.abs(np.fft.fft2(plane * window)) ** 2
        told += np.log(np.bincount(ring, power.ravel()) / np.bincount(ring) + 1e-6).tolist()
    return np.array(told)


def area_under_curve(reals: list[Face], fakes: list[np.ndarray], columns: slice) -> float:
    """Of fakes against reals by some of their bands, out of fold."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict

    seen = np.array([bands(real.crop_HW3) for real in reals] + [bands(fake) for fake in fakes])[:, columns]
    labels, groups = np.repeat([0, 1], len(reals)), np.tile(np.arange(len(reals)), 2)
    model = HistGradientBoostingClassifier(max_iter=150, learning_rate=0.05, random_state=0)
    scores = cross_val_predict(model, seen, labels, groups=groups, cv=GroupKFold(5), method="predict_proba")
    return float(roc_auc_score(labels, scores[:, 1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, help="folder of pictures of faces, 256 px or larger")
    parser.add_argument("--count", type=int, default=200, help="pictures")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    reals = faces(pictures(args.pictures, args.count))
    if len(reals) < TIMED:
        sys.exit(f"a face was found in {len(reals)} pictures; needed: {TIMED}")
    donors = nearest_poses(np.stack([real.five_52 for real in reals]), np.arange(len(reals)), DONORS)
    rows = []
    for kind in KINDS:
        fakes = forgeries(kind, reals, donors)
        areas = [area_under_curve(reals, fakes, columns) for columns in (LIGHT, COLOUR)]
        rows.append([kind, f"{crops_per_second(kind, reals, donors):.0f}", *(f"{area:.3f}" for area in areas)])
    told = table(["kind", "crops/s", "AUC by bands of brightness and sharpness", "AUC by bands of colour"], rows)
    print(f"{len(reals)} pictures, {hardware()}\n\n{told}")
    if args.pictures is None:
        head = f"# Forging on {hardware()}\n\nOf {len(reals)} rendered people, {SIDE} px, one core.\n\n"
        (RESULTS / f"forge-{slug(hardware())}.md").write_text(head + told)


if __name__ == "__main__":
    main()
