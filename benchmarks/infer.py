"""Inference side by side: five folds, two views, 32 frames a video; the plain way and ours, on the same files.

    python benchmarks/infer.py --media FOLDER_OF_VIDEOS

Without --media, on clips of the demo set. Writes benchmarks/results/infer-<hardware>.md.

The plain way is what published solutions do: each model goes through all videos: decord, 32 evenly spread frames,
facenet-pytorch's MTCNN(keep_all=True).detect on all of them at once, crops, the model on each crop and its mirror
image, and a table. Ours is `python -m deepfake index infer`. Both are processes that are timed from start to
end, with one video and with all: what a video costs is the difference, so that starting counts apart. Models have
random weights.
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
from pathlib import Path

from machine import RESULTS, hardware, slug, table

ROOT = Path(__file__).resolve().parents[1]
FOLDS, NUM_FRAMES, DETECT_SIZE, MIN_FACE, MIN_PROB, MARGIN, CROP_SIZE = 5, 32, 640, 24, 0.9, 0.3, 256
HOURS, VIDEOS = 9, 4000  # what the DFDC allowed
VIDEO_SUFFIXES = {".mp4", ".mov", ".avi", ".mkv", ".webm"}


def write_run(folder: Path, model: str, image_size: int) -> None:
    """runs/plain of five folds with random weights, as training leaves it."""
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
    for fold in range(FOLDS):
        path = folder / f"runs/plain/fold{fold}"
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
    import numpy as np
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
    ours = ["-m", "deepfake", "index", "infer", "name=plain", f"data.root={videos}", "data.layout=unlabelled"]
    command = ours if arm == "ours" else [__file__, "--plain", str(folder), "--media", str(videos)]
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{arm}: {done.stderr}")
    return time.perf_counter() - began


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


def describe(seconds: dict[str, dict[str, list[float]]], count: int, what: str, rounds: int) -> str:
    each, start = {}, {}
    for arm, parts in seconds.items():
        one, all_of_them = (statistics.median(parts[name]) for name in ("one", "all"))
        each[arm] = (all_of_them - one) / (count - 1)
        start[arm] = one - each[arm]
    rows = [
        [
            arm,
            f"{each[arm]:.2f}",
            f"{each[arm] / each['plain']:.2f}",
            f"{start[arm]:.1f}",
            f"{each[arm] * VIDEOS / 3600:.1f}",
        ]
        for arm in each
    ]
    head = ["arm", "s a video", "÷ plain", "s to start", f"hours for {VIDEOS} videos (DFDC allowed {HOURS})"]
    about = (
        f"{what}, {FOLDS} folds x 2 views x up to {NUM_FRAMES} frames; {count} videos, medians of {rounds} rounds.\n\n"
    )
    return f"# Inference on {hardware(gpu=True)}\n\n{about}{table(head, rows)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, help="folder of videos")
    parser.add_argument("--limit", type=int, default=12, help="videos")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="mobilenetv2_100")
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT / "src")
    sys.path.insert(0, str(ROOT / "src"))
    if args.plain:
        plain_way(args.plain, args.media)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pick(args.media and args.media.resolve(), folder, args.limit)
        write_run(folder, args.model, args.image_size)
        count = len(list((folder / "all").iterdir()))
        seconds: dict[str, dict[str, list[float]]] = {arm: {"one": [], "all": []} for arm in ("plain", "ours")}
        for _ in range(args.rounds):
            for arm, parts in seconds.items():
                for part, taken in parts.items():
                    taken.append(seconds_of(arm, folder, folder / part))
                    print(f"{arm}, {part}: {taken[-1]:.1f} s", flush=True)
    told = describe(seconds, count, f"{args.model} at {args.image_size} px", args.rounds)
    path = RESULTS / f"infer-{slug(hardware(gpu=True))}.md"
    path.write_text(told)
    print(f"{told}\nwrote {path}")


if __name__ == "__main__":
    main()
