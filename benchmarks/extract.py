"""Extraction side by side: decoding alone, the loop that a user would write, and ours, on the same files in one run.

    python benchmarks/extract.py --media FOLDER_OR_FILE …

Without --media, on clips of the demo set. Writes benchmarks/results/extract-<hardware>.md.

Each arm has processes of its own, which work on two files each before the clock starts; the arms take turns, and the
medians of the rounds count. (a) is decord, 16 evenly spread frames, no more. (b) is decord, frames reduced to the
detection size, facenet-pytorch's MTCNN(keep_all=True).detect on all of a video's frames at once, and the same crops in
the same format. (c) is deepfake.media.workers, as `extract` uses it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import forkserver, get_context
from pathlib import Path

import numpy as np
from machine import RESULTS, hardware, slug, table
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
NUM_FRAMES, DETECT_SIZE, MIN_FACE, MIN_PROB, SEARCH_EVERY = 16, 640, 24, 0.9, 16
MARGIN, CROP_SIZE = 0.3, 256
SURE_PROB, SAME_IOU = 0.95, 0.7  # which faces of one arm the other is asked for, and what counts as the same
LEAST_FILES = 16  # of a group: fewer are gone through several times
VIDEO_SUFFIXES = {".mp4", ".mov", ".avi", ".mkv", ".webm"}

Faces = list[tuple[int, list[float], float]]  # of a video: (frame, box x0 y0 x1 y1 px, probability)


@dataclass(frozen=True)
class Arm:
    """What is done to each video, and by how many processes; a lone one has its libraries' threads, others one each."""

    about: str
    work: str
    processes: int


def arms(cores: int) -> dict[str, Arm]:
    return {
        "a1": Arm("decoding alone: decord, one process with its threads", "decode_decord", 1),
        "a2": Arm(f"decoding alone: decord, {cores} processes", "decode_decord", cores),
        "a3": Arm(f"decoding alone: our reader, {cores} processes", "decode_ours", cores),
        "b1": Arm("the user's loop, one process with its threads", "user_loop", 1),
        "b2": Arm(f"the user's loop, {cores} processes", "user_loop", cores),
        "c": Arm(f"ours, {cores} processes", "ours", cores),
    }


# --- what is done to one video

_mine: dict = {}  # what a process keeps


def start(threads: int) -> None:
    """Once in each process of (a) and (b); 0 threads leaves them as they are."""
    import cv2
    import torch

    _mine["threads"] = threads
    if threads:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)


def read_decord(path: str) -> tuple[np.ndarray, np.ndarray]:
    import decord

    from deepfake.media.medium import spread_indices

    reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=_mine["threads"])
    numbers = spread_indices(len(reader), NUM_FRAMES)
    return numbers, reader.get_batch(numbers).asnumpy()


def decode_decord(path: str, _crops: str) -> Faces:
    read_decord(path)
    return []


def decode_ours(path: str, _crops: str) -> Faces:
    from deepfake.media.medium import Limits
    from deepfake.media.video import open_medium

    for _ in open_medium(Path(path), "video", NUM_FRAMES, Limits(0, 0)):
        pass
    return []


def user_loop(path: str, crops: str) -> Faces:
    import cv2

    from deepfake.media.crop_face import crop_face
    from deepfake.media.store import png_flags

    numbers, frames = read_decord(path)
    height, width = frames.shape[1:3]
    shrink = min(1.0, DETECT_SIZE / max(height, width))
    size = (round(width * shrink), round(height * shrink))
    if shrink < 1:
        small = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])
    else:
        small = frames
    boxes, probs, _ = user_detector().detect(small, landmarks=True)
    folder = Path(crops) / Path(path).name
    folder.mkdir(parents=True, exist_ok=True)
    faces = []
    for number, frame, found, found_probs in zip(numbers.tolist(), frames, boxes, probs, strict=True):
        if found is None:
            continue
        sure = [(box / shrink, prob) for box, prob in zip(found, found_probs) if prob >= MIN_PROB]
        for index, (box_xyxy, prob) in enumerate(sure):
            crop = crop_face(frame, box_xyxy, None, align="box", margin=MARGIN, size=CROP_SIZE)
            cv2.imwrite(str(folder / f"{number:06d}_{index}.png"), crop[..., ::-1], png_flags())
            faces.append((number, box_xyxy.tolist(), float(prob)))
    return faces


def user_detector() -> object:
    import torch
    from facenet_pytorch import MTCNN

    if "mtcnn" not in _mine:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        _mine["mtcnn"] = MTCNN(keep_all=True, min_face_size=MIN_FACE, device=device)
    return _mine["mtcnn"]


# --- one arm over all files


def run_pool(arm: Arm, files: list[str], crops: str) -> Iterator[tuple[str, Faces]]:
    work: Callable[[str, str], Faces] = globals()[arm.work]
    with ProcessPoolExecutor(arm.processes, get_context("spawn"), start, (int(arm.processes > 1),)) as pool:
        yield from zip(files, pool.map(work, files, [crops] * len(files)), strict=True)


def run_ours(arm: Arm, files: list[str], crops: str) -> Iterator[tuple[str, Faces]]:
    from deepfake.media.crop_medium import CroppedMedium, CropSettings
    from deepfake.media.medium import Limits
    from deepfake.media.workers import CropTask, Pace, WorkerSetup, crop_all

    settings = CropSettings(
        num_frames=NUM_FRAMES,
        mode="faces",
        align="box",
        margin=MARGIN,
        size=CROP_SIZE,
        format="png",
        quality=95,
        faces="all",
        min_track=0.0,  # nothing is dropped, as (b) drops nothing
        min_track_prob=0.0,
        limits=Limits(0, 0),
    )
    detector = {"detect_size": DETECT_SIZE, "min_face": MIN_FACE, "min_prob": MIN_PROB, "search_every": SEARCH_EVERY}
    tasks = [CropTask(f"{number}_{Path(file).name}", Path(file), "video") for number, file in enumerate(files)]
    setup = WorkerSetup(Path(crops), detector, settings)
    for task, cropped in crop_all(tasks, setup, Pace(num_workers=arm.processes, timeout_s=600)):
        assert isinstance(cropped, CroppedMedium), f"{task.path}: {cropped}"
        rows = [row for row in cropped.rows if row["found"]]
        boxes = [[row[side] for side in ("x0", "y0", "x1", "y1")] for row in rows]
        yield str(task.path), [(row["frame_idx"], box, row["prob"]) for row, box in zip(rows, boxes, strict=True)]


def run_arm(arm: Arm, files: list[str]) -> dict:
    """Seconds a video, faces by file, MB of the largest process. The clock starts when all warm-up files are done."""
    warm_ups = [files[0]] * (2 * arm.processes)
    run, faces, began = run_ours if arm.work == "ours" else run_pool, {}, 0.0
    with tempfile.TemporaryDirectory() as crops:
        for number, (file, found) in enumerate(run(arm, warm_ups + files, crops), 1):
            faces[file] = found
            if number == len(warm_ups):
                began = time.perf_counter()
        seconds = time.perf_counter() - began
    forkserver._forkserver._stop()  # the processes that it forked count once it has ended
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {"seconds": seconds / len(files), "faces": faces, "peak_mb": peak / 1024}


# --- all arms in turn, and what is said of them


def measure(files: list[str], cores: int, rounds: int, bar: tqdm, chosen: Iterable[str] = ()) -> dict[str, list[dict]]:
    """The chosen arms' results, of all where none is chosen, one a round, every one in an interpreter of its own."""
    results: dict[str, list[dict]] = {name: [] for name in chosen or arms(cores)}
    for _ in range(rounds):
        for name, rounds_of_it in results.items():
            command = [sys.executable, __file__, "--work", name, "--cores", str(cores)]
            done = subprocess.run(command, input=json.dumps(files), capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"arm {name} failed:\n{done.stderr}")
            rounds_of_it.append(json.loads(done.stdout.splitlines()[-1]))
            bar.update()
    return results


def share_found(theirs: dict[str, Faces], ours: dict[str, Faces]) -> tuple[int, int]:
    """How many of their sure faces ours has at the same place, and how many they are."""
    found = total = 0
    for file, faces in theirs.items():
        for frame, box, prob in faces:
            if prob >= SURE_PROB:
                total += 1
                found += any(iou(box, other) >= SAME_IOU for number, other, _ in ours[file] if number == frame)
    return found, total


def iou(box: list[float], other: list[float]) -> float:
    x0, y0, x1, y1 = (*np.maximum(box[:2], other[:2]), *np.minimum(box[2:], other[2:]))
    shared = max(0.0, x1 - x0) * max(0.0, y1 - y0)
    areas = [(side[2] - side[0]) * (side[3] - side[1]) for side in (box, other)]
    return shared / (sum(areas) - shared)


def describe(group: str, files: list[str], results: dict[str, list[dict]], cores: int) -> str:
    seconds = {name: statistics.median(one["seconds"] for one in rounds) for name, rounds in results.items()}
    rows = []
    others = [other for other in ("a1", "a2", "b1", "b2") if other in results]
    for name, rounds in results.items():
        ratios = [f"{seconds[name] / seconds[other]:.2f}" for other in others]
        peak = max(one["peak_mb"] for one in rounds)
        rows.append([f"{name} {arms(cores)[name].about}", f"{1000 * seconds[name]:.0f}", *ratios, f"{peak:.0f}"])
    about = ""
    if others[-1].startswith("b"):
        theirs, ours = results[others[-1]][0]["faces"], results["c"][0]["faces"]
        shares = [share_found(theirs, ours), share_found(ours, theirs)]
        told = [f"{found} of {total} ({100 * found / max(1, total):.2f} %)" for found, total in shares]
        about = f"\nOf (b)'s faces of probability {SURE_PROB} and more, (c) has {told[0]} at IoU {SAME_IOU} and more; "
        about += f"of (c)'s, (b) has {told[1]}.\n"
    return (
        f"## {group}: {len(set(files))} videos, {len(files)} read in a round, {len(results['c'])} rounds\n\n"
        + table(["arm", "ms a video", *(f"÷ {other}" for other in others), "largest process, MB"], rows)
        + about
    )


def groups(media: list[Path], limit: int, folder: Path) -> dict[str, list[str]]:
    """Videos by name of the folder or file that was asked for, evenly picked; the demo set's where none was."""
    if not media:
        from deepfake.demo.render import render_demo

        render_demo(folder, seed=0, num_workers=os.cpu_count(), num_train=24, num_test=2)
        media = [folder / "media"]
    found = {}
    for path in media:
        files = sorted(
            str(file) for file in ([path] if path.is_file() else path.rglob("*")) if file.suffix in VIDEO_SUFFIXES
        )
        files = files[:: max(1, len(files) // limit)][:limit]
        found[path.stem] = files * -(-LEAST_FILES // len(files))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, nargs="*", default=[], help="folders and files of videos, each a group")
    parser.add_argument("--limit", type=int, default=40, help="videos of each group")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT / "src"))  # the processes that arms start inherit it
    if args.work:
        print(json.dumps(run_arm(arms(args.cores)[args.work], json.load(sys.stdin))))
        return
    parts = [f"# Extraction on {hardware(gpu=True)}\n"]
    with tempfile.TemporaryDirectory() as folder:
        media = groups(args.media, args.limit, Path(folder))
        with tqdm(total=len(media) * args.rounds * len(arms(args.cores)), unit=" arm") as bar:
            for group, files in media.items():
                parts.append(describe(group, files, measure(files, args.cores, args.rounds, bar), args.cores))
                tqdm.write(parts[-1])
    path = RESULTS / f"extract-{slug(hardware(gpu=True))}.md"
    path.write_text("\n".join(parts))
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
