"""Inference side by side: five folds, two views, 32 frames a video; the plain way and ours, on the same files.

    python benchmarks/infer.py --media FOLDER_OF_VIDEOS

Without --media, on clips of the demo set. Writes benchmarks/results/infer-<hardware>.md.

The plain way is what published solutions do: each model goes through all videos: decord, 32 evenly spread frames,
facenet-pytorch's MTCNN(keep_all=True).detect on all of them at once, crops, the model on each crop and its mirror
image, and a table. Ours is `python -m deepfake index infer`, once with all folds and once with one. All are processes
that are timed from start to end, with one video and with all: what a video costs is the difference, so that starting
counts apart. Then, what bounds ours: cropping alone, and for crops that are there reading them, copying them to the
device and computing, one after the other. Models have random weights.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from machine import RESULTS, hardware, python_path, slug, table

ROOT = Path(__file__).resolve().parents[1]
FOLDS, NUM_FRAMES, DETECT_SIZE, MIN_FACE, MIN_PROB, MARGIN, CROP_SIZE = 5, 32, 640, 24, 0.9, 0.3, 256
HOURS, VIDEOS = 9, 4000  # what the DFDC allowed
VIDEO_SUFFIXES = {".mp4", ".mov", ".avi", ".mkv", ".webm"}


RUNS = {"plain": FOLDS, "single": 1}  # runs by name, with their numbers of folds
COMMANDS = {  # of ours
    "ours": ("index", "infer", "name=plain"),
    "ours, one model": ("index", "infer", "name=single"),
    "cropping alone": ("index", "extract", "name=plain", f"extract.num_frames={NUM_FRAMES}"),
}


def write_run(folder: Path, name: str, model: str, image_size: int) -> None:
    """runs/<name> with random weights, as training leaves it."""
    import torch

    from deepfake.arguments import load_config
    from deepfake.knobs import resolved
    from deepfake.learn.checkpoint import save_detector
    from deepfake.learn.models import build_detector, resolve_spec
    from deepfake.tables import OOF

    settings = [f"extract.num_frames={NUM_FRAMES}", f"model.name={model}", f"model.image_size={image_size}"]
    config = resolved(load_config(["data.name=clips", *settings, "data.layout=unlabelled"]))
    facts = {
        "dataset": "clips",
        "metrics": {},
        "prior_logit": 0.0,
        "config": config,
        "folds_sha256": "",
        "git_commit": "",
    }
    for fold in range(RUNS[name]):
        path = folder / f"runs/{name}/fold{fold}"
        path.mkdir(parents=True)
        torch.manual_seed(fold)
        detector = build_detector(resolve_spec(model, image_size=image_size)).eval()
        save_detector(path / "best.safetensors", detector, facts | {"fold": str(fold)})
        (path / "config.json").write_text(json.dumps({"config": config, "made_from": {"config": {}, "inputs": {}}}))
        (path / "done.json").write_text("{}")
        OOF.write(OOF.empty(), path / "oof.parquet")


def plain_way(folder: Path, videos: Path) -> None:
    """One model after the other, one video after the other, as a user would write it."""
    import cv2
    import decord
    import pandas as pd
    import torch
    from facenet_pytorch import MTCNN

    from deepfake.learn.checkpoint import load_detector
    from deepfake.media.crop_face import crop_face
    from deepfake.media.medium import spread_indices

    device = "cuda" if torch.cuda.is_available() else "cpu"
    mtcnn = MTCNN(keep_all=True, min_face_size=MIN_FACE, device=device)
    tables = []
    for weights in sorted(folder.glob("runs/plain/fold*/best.safetensors")):
        model, rows = load_detector(weights).to(device, memory_format=torch.channels_last), []
        for path in sorted(videos.iterdir()):
            reader = decord.VideoReader(str(path))
            frames = reader.get_batch(spread_indices(len(reader), NUM_FRAMES)).asnumpy()
            height, width = frames.shape[1:3]
            shrink = min(1.0, DETECT_SIZE / max(height, width))
            size = (round(width * shrink), round(height * shrink))
            small = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])
            crops = [
                cv2.resize(
                    crop_face(frame, box / shrink, None, align="box", margin=MARGIN, size=CROP_SIZE),
                    (model.spec.image_size,) * 2,
                    interpolation=cv2.INTER_AREA,
                )
                for frame, boxes, probs in zip(frames, *mtcnn.detect(small))
                if boxes is not None
                for box, prob in zip(boxes, probs)
                if prob >= MIN_PROB
            ]
            logit = 0.0
            if crops:
                images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).to(device)
                with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                    logit = float((model(images).mean() + model(images.flip(3)).mean()) / 2)
            rows.append({"filename": path.name, "logit": logit})
        tables.append(pd.DataFrame(rows))
    logits = pd.concat(tables).groupby("filename").logit.mean()
    (1 / (1 + np.exp(-logits))).rename("label").to_csv(folder / "plain.csv")


def seconds_of(arm: str, folder: Path, videos: Path) -> float:
    """Wall time of one arm's whole process, from nothing."""
    for left in ("data", "submissions"):
        shutil.rmtree(folder / left, ignore_errors=True)
    if arm == "plain":
        command = [__file__, "--plain", str(folder), "--media", str(videos)]
    else:
        command = ["-m", "deepfake", *COMMANDS[arm], f"data.root={videos}", "data.layout=unlabelled"]
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{arm}: {done.stdout[-2000:]}{done.stderr}")
    return time.perf_counter() - began


def bounds_of(folder: Path) -> dict[str, float]:
    """Milliseconds that the crops which lie below `folder` cost: read, copied, computed by all folds in two views."""
    import torch

    from deepfake.learn.data import load_crop
    from deepfake.learn.engine import choose_precision, prepare_process
    from deepfake.learn.predictor import Predictor
    from deepfake.learn.views import view_logits
    from deepfake.machine import worker_count

    prepare_process()
    precision, threads = choose_precision("auto"), worker_count(-1)
    weights = sorted(folder.glob("runs/plain/fold*/best.safetensors"))
    predictor = Predictor(weights, precision, batch_size=NUM_FRAMES, num_threads=threads)
    paths, spec = sorted(folder.glob("data/*/crops/**/*.png")), predictor.detectors[0].spec
    taken = dict.fromkeys(("reading", "copying", "computing"), 0.0)

    def timed(what: str, began: float) -> None:
        if precision.device.type == "cuda":
            torch.cuda.synchronize()
        taken[what] += 1000 * (time.perf_counter() - began)

    for _ in range(2):  # the first warms up
        taken = dict.fromkeys(taken, 0.0)
        for start in range(0, len(paths), NUM_FRAMES):
            began = time.perf_counter()
            read = predictor.threads.map(
                lambda path: load_crop(path, spec.image_size, spec.interpolation), paths[start : start + NUM_FRAMES]
            )
            images = torch.from_numpy(np.ascontiguousarray(np.concatenate(list(read)).transpose(0, 3, 1, 2)))
            images = images.pin_memory() if precision.device.type == "cuda" else images
            timed("reading", began)
            began = time.perf_counter()
            images = precision.send(images)
            timed("copying", began)
            began = time.perf_counter()
            with torch.inference_mode(), precision.autocast():
                view_logits(predictor.detectors, images, ["identity", "hflip"]).float().cpu()
            timed("computing", began)
    return taken


def pick(media: Path | None, folder: Path, limit: int) -> None:
    """folder/all: videos, evenly picked; folder/one: the first of them."""
    if media is None:
        from deepfake.demo.render import render_demo

        media = folder / "demo"
        render_demo(media, seed=0, num_workers=os.cpu_count(), num_train=24, num_test=2)
    files = sorted(file for file in media.rglob("*") if file.suffix in VIDEO_SUFFIXES)
    files = files[:: max(1, len(files) // limit)][:limit]
    for name, chosen in (("one", files[:1]), ("all", files)):
        (folder / name).mkdir()
        for number, file in enumerate(chosen):
            shutil.copy(file, folder / name / f"{number:03d}{file.suffix}")


def measure(folder: Path, arms: Iterable[str], rounds: int) -> Iterator[tuple[str, float, float]]:
    """Arm by arm: its name, seconds a video, seconds to start; medians of the rounds."""
    count = len(list((folder / "all").iterdir()))
    for arm in arms:
        parts = {
            part: statistics.median(seconds_of(arm, folder, folder / part) for _ in range(rounds))
            for part in ("one", "all")
        }
        each = max(0.001, parts["all"] - parts["one"]) / (count - 1)  # noise may turn the difference round
        yield arm, each, parts["one"] - each


def measure_bounds(folder: Path) -> dict[str, float]:
    """Milliseconds a video, see bounds_of; in a process of its own. The crops of all videos lie there."""
    command = [sys.executable, __file__, "--bounds", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bounds: {done.stderr}")
    count = len(list((folder / "all").iterdir()))
    return {what: taken / count for what, taken in json.loads(done.stdout.splitlines()[-1]).items()}


def describe(found: dict[str, tuple[float, float]], bounds: dict[str, float]) -> str:
    """found: seconds a video and to start, by arm."""
    rows = [
        [arm, f"{each:.2f}", f"{each / found['plain'][0]:.2f}", f"{start:.1f}", f"{each * VIDEOS / 3600:.1f}"]
        for arm, (each, start) in found.items()
    ]
    head = ["arm", "s a video", "÷ plain", "s to start", f"hours for {VIDEOS} videos (DFDC allowed {HOURS})"]
    alone = ", ".join(f"{what} {taken:.0f} ms" for what, taken in bounds.items())
    return f"{table(head, rows)}\nOf crops that are there, a video, one after the other: {alone}.\n"


def prepare(folder: Path, media: Path | None, limit: int, model: str, image_size: int) -> None:
    """Videos and runs, and where this process's children find both."""
    os.environ["PYTHONPATH"] = python_path()
    pick(media and media.resolve(), folder, limit)
    for name in RUNS:
        write_run(folder, name, model, image_size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, help="folder of videos")
    parser.add_argument("--limit", type=int, default=12, help="videos")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="mobilenetv2_100")
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--bounds", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT / "src"))
    if args.plain:
        plain_way(args.plain, args.media)
        return
    if args.bounds:
        print(json.dumps(bounds_of(args.bounds)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, args.media, args.limit, args.model, args.image_size)
        count, found = len(list((folder / "all").iterdir())), {}
        for arm, each, start in measure(folder, ("plain", *COMMANDS), args.rounds):
            found[arm] = each, start
            print(f"{arm}: {each:.2f} s a video, {start:.1f} s to start", flush=True)
        told = describe(found, measure_bounds(folder))
    what = f"{args.model} at {args.image_size} px, {FOLDS} folds x 2 views x up to {NUM_FRAMES} frames"
    told = f"# Inference on {hardware(gpu=True)}\n\n{what}; {count} videos, medians of {args.rounds} rounds.\n\n{told}"
    path = RESULTS / f"infer-{slug(hardware(gpu=True))}.md"
    path.write_text(told)
    print(f"{told}\nwrote {path}")


if __name__ == "__main__":
    main()
