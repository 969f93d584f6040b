"""Training side by side, in crops a second: (a) a model on synthetic tensors that are already on the device, (b) our
training of it on real crops, (c) timm's own loader and step on the same crops.

    python benchmarks/train.py [--crops FOLDER]

Without --crops, on crops of the demo set, as our extraction gives them. Writes benchmarks/results/train-<hardware>.md.

Each arm is a process of its own that warms up first; the arms take turns, and the medians of the rounds count. (a) is
a bare loop: forward, backward, optimiser. (b) is deepfake.learn.trainer.Trainer with deepfake.learn.data's loader
under the default augmentation. (c) is that bare loop, which is what timm's train.py comes to, over
timm.data.create_loader with train.py's settings (random resized window, flip, colour jitter, its prefetcher on a GPU).
Model, precision, memory format, optimiser and loss are the same; on a CPU (a) and (b) keep freed memory as our command
does, (c) does not.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from machine import RESULTS, hardware, python_path, slug, table
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
ARMS = {
    "a": "the model on tensors that are there",
    "b": "ours",
    "c": "timm's loader and step",
}


Measured = dict[str, float]
"""Of an arm: `speed` in crops a second; where there is a card, `peak_mb` of its memory and `busy`, the share of the
time in which it computed; of ours `waited`, the share of the time in which the model waited for crops."""


@dataclass(frozen=True)
class Task:
    """A model at a size (px), crops a step, steps that are timed, and what trains, see deepfake.learn.freeze."""

    model: str
    size: int
    batch: int
    steps: int
    trains: str = "all"


ON_CPU = (Task("mobilenetv2_100", 160, 32, 12), Task("resnet18", 224, 32, 12))
ON_GPU = (
    Task("tf_efficientnet_b4", 380, 64, 100),
    Task("convnext_base", 224, 128, 100),
    Task("vit_large_patch14_dinov2", 224, 64, 100, "norm"),
)


def cut_people(folder: Path, size: int) -> Path:
    """PNG crops of rendered people at `size` px, as extraction gives them, linked into real/ and fake/ of a folder."""
    from deepfake.demo.render import render_demo
    from deepfake.tables import FACES, MEDIA

    render_demo(folder / "people", seed=0, num_workers=os.cpu_count(), num_train=24, num_test=2)
    wanted = ["data.root=people", "extract.split=train", f"crop.size={size}", f"data.name=at{size}"]
    command = [sys.executable, "-m", "deepfake", "index", "extract", *wanted]
    subprocess.run(command, cwd=folder, env=environment(), check=True, capture_output=True)
    data = folder / "data" / f"at{size}"
    faces = FACES.read(data / "faces.parquet").merge(MEDIA.read(data / "media.parquet")[["media_id", "label"]])
    classes = folder / f"classes{size}"
    for number, (path, label) in enumerate(zip(faces.path, faces.label)):
        link = classes / ("fake" if label else "real") / f"{number:06d}.png"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(data / path)
    return classes


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": python_path(), "GOMP_SPINCOUNT": "1000"}  # as the command sets it


def build(task: Task):
    """The model, without its own weights, and how it is computed: one for all arms."""
    import torch

    from deepfake.learn.engine import choose_precision
    from deepfake.learn.freeze import train_only
    from deepfake.learn.models import build_detector, resolve_spec

    torch.manual_seed(0)
    detector = build_detector(resolve_spec(task.model, image_size=task.size))
    train_only(detector.backbone, task.trains)
    return detector, choose_precision("auto")


class Card:
    """What the card does from now on; nothing where there is none."""

    def __init__(self) -> None:
        import torch

        self.there = torch.cuda.is_available()
        if self.there:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        self.busy = None
        if self.there and shutil.which("nvidia-smi"):
            asks = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"]
            asks += ["-i", f"GPU-{torch.cuda.get_device_properties(0).uuid}"]  # it knows no CUDA_VISIBLE_DEVICES
            self.busy = subprocess.Popen(asks, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.began = time.perf_counter()

    def measured(self, crops: int) -> Measured:
        """Of so many crops that were trained on since."""
        import torch

        if self.there:
            torch.cuda.synchronize()
        found = {"speed": crops / (time.perf_counter() - self.began)}
        if self.there:
            found["peak_mb"] = torch.cuda.max_memory_reserved() / 2**20
        if self.busy:
            self.busy.terminate()
            shares = [int(word) for word in self.busy.communicate()[0].split() if word.isdigit()]
            found |= {"busy": statistics.mean(shares) / 100} if shares else {}
        return found


def timed_steps(task: Task, batches, detector, precision) -> Measured:
    """The plainest step over batches (images_NCHW, labels (N,)); the first half warms up."""
    import torch
    from timm.optim import create_optimizer_v2

    detector = precision.place(detector).train()
    optimizer = create_optimizer_v2(detector, opt="adamw", lr=1e-4, weight_decay=0.01)
    scaler, card = precision.scaler(), None
    for step, (images, labels) in enumerate(itertools.islice(batches, 2 * task.steps)):
        if step == task.steps:
            card = Card()
        images = images.to(precision.device).contiguous(memory_format=precision.memory_format)
        with precision.autocast():
            logits = detector(images).flatten()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), labels.to(logits.device).float())
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        if step % 50 == 0:
            loss.item()
    return card.measured(task.batch * task.steps)


def arm_a(task: Task, classes: Path) -> Measured:
    import torch

    from deepfake.learn.engine import prepare_process

    prepare_process()  # the ceiling has all that ours has
    detector, precision = build(task)
    images = torch.randint(0, 256, (task.batch, 3, task.size, task.size), dtype=torch.uint8)
    batch = precision.send(images), torch.arange(task.batch, device=precision.device) % 2.0
    return timed_steps(task, itertools.repeat(batch), detector, precision)


def arm_b(task: Task, classes: Path) -> Measured:
    from deepfake.config import AugmentConfig, Config
    from deepfake.learn.augment import build_augment
    from deepfake.learn.data import CropDataset, train_loader
    from deepfake.learn.engine import prepare_process
    from deepfake.learn.recipe import Phase, Recipe
    from deepfake.learn.sampling import EpochBatches, Rows
    from deepfake.learn.trainer import Trainer
    from deepfake.machine import loader_workers

    paths = sorted(classes.rglob("*.png"))
    paths = paths * -(-task.batch * 2 * task.steps // len(paths))
    names, labels = np.arange(len(paths)), np.array([path.parent.name == "fake" for path in paths], int)
    rows = Rows.from_names(media=names, labels=labels, methods=labels, sources=names, frames=0 * names)
    batches = EpochBatches(rows, sampler="all", frames_per_medium=1, batch_size=task.batch, seed=0)
    settings = dataclasses.asdict(AugmentConfig())
    one_picture = inspect.signature(build_augment).parameters
    data = CropDataset(
        paths,
        labels,
        image_size=task.size,
        interpolation="bicubic",
        augment=build_augment(**{name: value for name, value in settings.items() if name in one_picture}),
    )
    loader = train_loader(data, batches, num_workers=loader_workers(Config().num_workers))
    prepare_process()
    detector, precision = build(task)
    recipe = Recipe(phases=[Phase(task.trains, 2, "adamw", 1e-4)])
    trainer = Trainer(detector, recipe, steps_of_epochs=[2 * task.steps] * 2, precision=precision)
    cards, step = [], itertools.count(1)

    def on_step(count: int) -> None:
        if next(step) == 3 * task.steps:  # in the middle of the second epoch, as the other arms begin in mid-iteration
            cards.append(Card())

    for epoch in range(2):  # the first warms up
        batches.epoch, batches.start = epoch, batches.steps(epoch) - 2 * task.steps
        figures = trainer.train_epoch(loader, on_step=on_step)
    return cards[0].measured(task.batch * task.steps) | {"waited": figures.waited}


def arm_c(task: Task, classes: Path) -> Measured:
    """What timm's train.py does: its loader and transforms, its step, its meter that reads the loss at times."""
    import torch
    from timm.data import create_dataset, create_loader

    torch.backends.cudnn.benchmark = True  # as train.py sets them
    torch.set_float32_matmul_precision("high")
    detector, precision = build(task)
    on_gpu = precision.device.type == "cuda"
    data = create_dataset("", root=str(classes), split="train", is_training=True)
    data.reader.samples = data.reader.samples * -(-task.batch * 2 * task.steps // len(data))
    cores = len(os.sched_getaffinity(0))
    loader = create_loader(
        data,
        input_size=(3, task.size, task.size),
        batch_size=task.batch,
        is_training=True,
        use_prefetcher=on_gpu,
        hflip=0.5,
        color_jitter=0.4,
        interpolation="random",
        num_workers=cores,
        device=precision.device,
        persistent_workers=True,
    )
    return timed_steps(task, loader, detector.backbone, precision)


def measure(task: Task, classes: Path, rounds: int, bar: tqdm) -> dict[str, list[Measured]]:
    """What each arm measured, each time in a process of its own; the arms take turns."""
    results: dict[str, list[Measured]] = {arm: [] for arm in ARMS}
    for _ in range(rounds):
        for arm in ARMS:
            asked = json.dumps(dataclasses.asdict(task))
            command = [sys.executable, __file__, "--arm", arm, "--task", asked, "--crops", str(classes)]
            done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"arm {arm} of {task.model} failed:\n{done.stderr}")
            results[arm].append(json.loads(done.stdout.splitlines()[-1]))
            bar.update()
    return results


def medians(results: dict[str, list[Measured]]) -> dict[str, Measured]:
    """By arm, of each of its figures."""
    return {
        arm: {
            key: statistics.median(one[key] for one in rounds) for key in rounds[0] if all(key in one for one in rounds)
        }
        for arm, rounds in results.items()
    }


def describe(task: Task, results: dict[str, list[Measured]]) -> str:
    middle, rows = medians(results), []
    for arm, about in ARMS.items():
        found, speeds = middle[arm], [one["speed"] for one in results[arm]]
        cells = [f"{found['speed']:.1f}", f"{min(speeds):.1f} to {max(speeds):.1f}"]
        cells.append(f"{found['speed'] / middle['a']['speed']:.2f}")
        for key, form in (("waited", ".0%"), ("busy", ".0%"), ("peak_mb", ".0f")):
            cells.append(format(found[key], form) if key in found else "")
        rows.append([f"{arm} {about}", *cells])
    frozen = f", {task.trains} alone" if task.trains != "all" else ""
    what = f"## {task.model} at {task.size} px{frozen}, {task.batch} crops a step\n\n"
    speed = {arm: found["speed"] for arm, found in middle.items()}
    ratio = f"\n(b) is {speed['b'] / speed['a']:.2f} × (a) and {speed['b'] / speed['c']:.2f} × (c).\n"
    head = ["arm", "crops a second, median", "range", "÷ a", "waiting for crops", "card busy", "card's memory, MB"]
    return what + table(head, rows) + ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=Path, help="a folder real/ and a folder fake/ of PNG crops")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT / "src"))
    if args.arm:
        found = {"a": arm_a, "b": arm_b, "c": arm_c}[args.arm](Task(**json.loads(args.task)), args.crops)
        print(json.dumps(found))
        return
    import torch

    tasks = ON_GPU if torch.cuda.is_available() else ON_CPU
    parts = [f"# Training on {hardware(gpu=True)}, {args.rounds} rounds\n"]
    with tempfile.TemporaryDirectory() as folder, tqdm(total=len(tasks) * args.rounds * len(ARMS), unit=" arm") as bar:
        for task in tasks:
            classes = args.crops or cut_people(Path(folder) / str(task.size), 256 if task.size <= 256 else 384)
            parts.append(describe(task, measure(task, classes.resolve(), args.rounds, bar)))
            tqdm.write(parts[-1])
    path = RESULTS / f"train-{slug(hardware(gpu=True))}.md"
    path.write_text("\n".join(parts))
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
