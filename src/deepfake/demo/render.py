"""Rendering the demo set as a small competition's folder.

    media/train, media/test    clips (H.264) and stills (JPEG, PNG) with names that say nothing
    listing.csv                path, label, method, source_id, donor_id, split; empty where a competition would hide it
    test_labels.csv            path, label, method of the test media
    sample_submission.csv      filename, label = .5
    demo.json                  the plan: seed and numbers of people

A shot is one person filmed once. Its real medium and its forgeries share size, rate, length and encoder; the forgeries
are made from the uncompressed frames, so nothing but the forgery tells them apart. listing.csv is written last.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from deepfake.demo.encode import PART_SUFFIX, StillFormat, write_bytes, write_clip, write_still
from deepfake.demo.heads import HeadModel, RenderedHead, build_head, render_head
from deepfake.demo.identity import Identity, dress_as, sample_identity
from deepfake.demo.motion import Motion, sample_motion
from deepfake.demo.pose import Camera
from deepfake.demo.shots import DemoPlan, Shot, plan_shots
from deepfake.forgery.arrays import Image
from deepfake.forgery.face_decoder import sample_face_decoder, through_face_decoder
from deepfake.forgery.reenact import reenact, sample_reenact
from deepfake.forgery.self_blend import sample_self_blend, self_blend
from deepfake.forgery.swap import sample_swap, swap
from deepfake.processes import context

LISTING, TEST_LABELS, SUBMISSION, PLAN = "listing.csv", "test_labels.csv", "sample_submission.csv", "demo.json"


def render_demo(
    folder: Path,
    *,
    seed: int = 0,
    num_workers: int = 2,
    num_train: int = 40,
    num_test: int = 14,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the demo set below `folder`; go on where an interrupted call stopped; do nothing when it is finished.

    `num_train` and `num_test` are numbers of people; both must be even. The files depend on them and on the seed, not
    on `num_workers` (processes, at least 1). `on_progress(done, total)` is called with the number of finished media:
    once at the start, then as shots finish. ValueError when `folder` holds a demo set of another plan.
    """
    plan = DemoPlan(seed, num_train, num_test)
    shots = plan_shots(plan)
    total = sum(len(shot.media) for shot in shots)
    report = on_progress or (lambda done, total: None)
    _claim_folder(folder, plan)
    if (folder / LISTING).exists():
        report(total, total)
        return
    missing = [shot for shot in shots if not all((folder / path).exists() for _, path in shot.media)]
    done = total - sum(len(shot.media) for shot in missing)
    report(done, total)
    for num_media in _render_all(folder, plan.seed, missing, num_workers):
        done += num_media
        report(done, total)
    _write_tables(folder, shots)


def _claim_folder(folder: Path, plan: DemoPlan) -> None:
    """Make the folders, note the plan, remove the half-written files of an interrupted call."""
    for split in ("train", "test"):
        (folder / "media" / split).mkdir(parents=True, exist_ok=True)
    note = folder / PLAN
    if not note.exists():
        write_bytes(note, json.dumps(asdict(plan)).encode())
    elif json.loads(note.read_text()) != asdict(plan):
        raise ValueError(f"{folder} holds a demo set of another plan: {note.read_text()}, asked for {asdict(plan)}")
    for part in folder.rglob("*" + PART_SUFFIX):
        part.unlink()


def _render_all(folder: Path, seed: int, shots: list[Shot], num_workers: int) -> Iterator[int]:
    """Render shots in fresh processes; yields the number of media of each shot as it finishes."""
    with ProcessPoolExecutor(num_workers, mp_context=context(detecting=False), initializer=_start_worker) as pool:
        longest_first = sorted(shots, key=lambda shot: -shot.num_frames * shot.height * shot.width)
        pending = [pool.submit(render_shot, folder, seed, shot) for shot in longest_first]
        try:
            for future in as_completed(pending):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """One thread a process: the processes share the cores."""
    cv2.setNumThreads(1)


def render_shot(folder: Path, seed: int, shot: Shot) -> int:
    """Film one shot, forge it by each of its methods, write its media. Returns the number of media."""
    rng = np.random.default_rng((seed, 2, shot.person, shot.take))
    camera, motion = _sample_camera(rng, shot), sample_motion(rng)
    person = build_head(_identity(seed, shot.person), camera)
    times_s = _frame_times(shot, rng)
    frames = [render_head(person, motion.at(time_s), rng) for time_s in times_s]
    for method, path in shot.media:
        forger = np.random.default_rng((seed, 3, shot.person, shot.take, *method.encode()))
        if method == "swap":
            donor = build_head(dress_as(_identity(seed, shot.donor), person.identity), camera)
            images = _swap_all(frames, donor, motion, times_s, forger)
        else:
            images = FORGERS[method](frames, times_s, forger)
        _write_medium(folder / path, images, shot)
    return len(shot.media)


def _identity(seed: int, person: int) -> Identity:
    """The person with this number, the same in all shots."""
    return sample_identity(np.random.default_rng((seed, 4, person)))


def _sample_camera(rng: np.random.Generator, shot: Shot) -> Camera:
    """A head near the middle, its face about 90 to 170 px tall."""
    tall_px = np.clip(min(shot.height, 1.3 * shot.width) * rng.uniform(0.38, 0.5), 92, 168)
    return Camera(
        height=shot.height,
        width=shot.width,
        px_per_unit=float(tall_px / 1.75),
        centre_xy=(shot.width * float(rng.uniform(0.46, 0.54)), shot.height * float(rng.uniform(0.45, 0.5))),
    )


def _frame_times(shot: Shot, rng: np.random.Generator) -> list[float]:
    """Seconds since the motion's start; a still is caught at any moment."""
    if isinstance(shot.form, StillFormat):
        return [float(rng.uniform(0, 2))]
    return [index / shot.form.fps for index in range(shot.num_frames)]


def _swap_all(
    frames: list[RenderedHead], donor: HeadModel, motion: Motion, times_s: list[float], rng: np.random.Generator
) -> Iterator[Image]:
    """The donor acts the same motion; one forger lays its face over every frame."""
    params = sample_swap(rng)
    for frame, time_s in zip(frames, times_s, strict=True):
        act = render_head(donor, motion.at(time_s))
        yield swap(frame.image_HW3, frame.points, act.image_HW3, act.points, params)


def _real_all(frames: list[RenderedHead], times_s: list[float], rng: np.random.Generator) -> Iterator[Image]:
    """The frames as they were filmed."""
    return (frame.image_HW3 for frame in frames)


def _upsampled_all(frames: list[RenderedHead], times_s: list[float], rng: np.random.Generator) -> Iterator[Image]:
    """One decoder re-synthesises the face of every frame."""
    params = sample_face_decoder(rng)
    return (through_face_decoder(frame.image_HW3, frame.points, params) for frame in frames)


def _self_blend_all(frames: list[RenderedHead], times_s: list[float], rng: np.random.Generator) -> Iterator[Image]:
    """One forger blends a changed copy of the face over every frame."""
    params = sample_self_blend(rng)
    return (self_blend(frame.image_HW3, frame.points, params) for frame in frames)


def _reenact_all(frames: list[RenderedHead], times_s: list[float], rng: np.random.Generator) -> Iterator[Image]:
    """One puppeteer moves the mouth of every frame, as its time says."""
    params = sample_reenact(rng)
    for frame, time_s in zip(frames, times_s, strict=True):
        yield reenact(frame.image_HW3, frame.points, params, time_s=time_s)


FORGERS = {"real": _real_all, "upsampled": _upsampled_all, "self_blend": _self_blend_all, "reenact": _reenact_all}


def _write_medium(path: Path, images: Iterator[Image], shot: Shot) -> None:
    """Encode the images as the shot says."""
    if isinstance(shot.form, StillFormat):
        write_still(path, next(images), shot.form)
    else:
        write_clip(path, images, shot.form)


def _write_tables(folder: Path, shots: list[Shot]) -> None:
    """The three tables, sorted by path. The listing is written last, as it says that everything is there."""
    rows = [_row(shot, method, path) for shot in shots for method, path in shot.media]
    rows.sort(key=lambda row: row["path"])
    test = [row for row in rows if row["split"] == "test"]
    _write_csv(folder / TEST_LABELS, [{key: row[key] for key in ("path", "label", "method")} for row in test])
    _write_csv(folder / SUBMISSION, [{"filename": Path(row["path"]).name, "label": "0.5"} for row in test])
    hidden = dict.fromkeys(("label", "method", "source_id", "donor_id"), "")
    _write_csv(folder / LISTING, [row | hidden if row["split"] == "test" else row for row in rows])


def _row(shot: Shot, method: str, path: str) -> dict[str, str]:
    """All that is known of a medium, as the listing's columns."""
    return {
        "path": path,
        "label": "0" if method == "real" else "1",
        "method": method,
        "source_id": f"person{shot.person:03d}",
        "donor_id": f"person{shot.donor:03d}" if method == "swap" else "",
        "split": shot.split,
    }


def _write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    """Write rows that have the same keys, below those keys as the header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())
