"""The parts of gpu.py: each measures one thing, and gives its figures as they come."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Figure:
    """One number that was measured, and what it has to be."""

    name: str
    value: float
    unit: str = ""
    least: float | None = None
    most: float | None = None

    @property
    def falls_short(self) -> bool:
        """False where nothing is aimed at."""
        below = self.least is not None and not self.value >= self.least
        return below or (self.most is not None and not self.value <= self.most)

    @property
    def aim(self) -> str:
        if self.least is not None:
            return f"at least {self.least:g}"
        return "" if self.most is None else f"at most {self.most:g}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


Found = Iterator[Figure | str]  # a str is Markdown: the whole table that figures stem from


def has_card() -> bool:
    import torch

    return torch.cuda.is_available()


# --- the tests

SLOW_ON_A_CPU = "two_processes or goes_on or every_precision or take_turns or convnext or b0"


def tests(folder: Path, limit_s: float, *, tiny: bool) -> Found:
    """What is marked `cuda`, on the card; without one the same on the CPU, where that means something."""
    where = {"FAIL_WITHOUT_CUDA": "1"} if has_card() else {"CUDA_TESTS": "cpu"}
    files = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.cuda" in path.read_text()]
    chosen = [*map(str, files), "-m", "cuda", *(["-k", f"not ({SLOW_ON_A_CPU})"] if tiny else [])]
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-v", "-p", "no:cacheprovider", "--tb=line", *chosen]
    log = folder / "tests.log"
    with log.open("w") as screen:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | where, stdout=screen, stderr=subprocess.STDOUT)
        try:
            status: int | None = process.wait(timeout=limit_s - 5)
        except subprocess.TimeoutExpired:
            status = None  # it is killed with all that it has started as this part ends
    said = log.read_text(errors="replace").splitlines()
    ended: dict[str, list[str]] = {"PASSED": [], "FAILED": [], "ERROR": [], "SKIPPED": []}
    for line in said:
        if found := re.match(r"(?:tests/)?(\S+::.+?) (PASSED|FAILED|ERROR|SKIPPED)", line):
            ended[found[2]].append(found[1])
    wrong = ended["FAILED"] + ended["ERROR"]
    if status is None:
        wrong.append(f"what comes after {sum(map(len, ended.values()))} tests: the time was up")
    elif status and not wrong:
        wrong.append(said[-1] if said else f"pytest ended with {status}")
    yield Figure("tests passed", len(ended["PASSED"]), least=1)
    yield Figure("tests skipped", len(ended["SKIPPED"]), **({"most": 0} if has_card() else {}))
    yield Figure("tests failed", len(wrong), most=0)
    reasons = [line for line in said if re.match(r"(E |\S+:\d+: )", line)]
    yield "".join(f"- failed: `{name}`\n" for name in wrong) + "".join(f"- `{line[:300]}`\n" for line in reasons)


# --- the speeds


def detection(folder: Path, limit_s: float, *, tiny: bool) -> Found:
    """Batched MTCNN against facenet-pytorch's, whole frames searched."""
    import detect

    count, results = 4 if tiny else 32, {}
    for size, found in detect.all_sizes(count, 0.0 if tiny else 6.0):
        results[size] = found
        yield Figure(f"frames a second, {size}, facenet-pytorch", found["theirs"])
        yield Figure(f"frames a second, {size}, ours", found["ours"])
        yield Figure(f"ours ÷ facenet-pytorch, {size}", found["ratio"], "×", least=10 if has_card() else None)
        yield Figure(f"their faces that ours finds, {size}", 100 * found["theirs_found"], "%", least=99)
        yield Figure(f"our faces that theirs finds, {size}", 100 * found["ours_found"], "%", least=95)
    yield detect.describe(results, count)


def training(folder: Path, limit_s: float, *, tiny: bool) -> Found:
    """Crops a second against tensors that are on the device, and against timm's loader and step."""
    import people
    import train
    from tqdm import tqdm

    if tiny:
        tasks = [train.Task("test_efficientnet", 64, 8, 3)]
    else:
        tasks = [train.Task(task.model, task.size, task.batch, 20, task.trains) for task in train.ON_GPU]
    sides = {task.model: 256 if task.size <= 256 else 384 for task in tasks}
    crops = {side: people.crops(folder / str(side), side, 8 if tiny else 32) for side in sides.values()}
    for task in tasks:
        with tqdm(total=3, desc=task.model, unit=" arm") as bar:
            results = train.measure(task, crops[sides[task.model]], 1, bar)
        found, name = train.medians(results), f"{task.model} at {task.size} px"
        yield Figure(f"crops a second, {name}, ours", found["b"]["speed"])
        for arm, other, least in (("a", "tensors on the device", 0.9), ("c", "timm", 1.0)):
            ratio = found["b"]["speed"] / found[arm]["speed"]
            yield Figure(f"ours ÷ {other}, {name}", ratio, "×", least=least if has_card() else None)
        yield Figure(f"time that waits for crops, {name}", 100 * found["b"]["waited"], "%")
        for key, what, unit, times in (("peak_mb", "card's memory", "MB", 1), ("busy", "card busy", "%", 100)):
            if key in found["b"]:
                yield Figure(f"{what}, {name}, ours", times * found["b"][key], unit)
        yield train.describe(task, results)


def inference(folder: Path, limit_s: float, *, tiny: bool) -> Found:
    """Five folds, two views, 32 frames against the plain way; what bounds it."""
    import infer
    import people

    model, size, seconds = ("test_efficientnet", 64, 1) if tiny else ("tf_efficientnet_b4", 380, 6)
    people.clips(folder / "clips", *((240, 426) if tiny else (480, 854)), number=2 if tiny else 6, seconds=seconds)
    infer.RUNS["plain"] = 2 if tiny else infer.FOLDS
    infer.prepare(folder, folder / "clips", 6, model, size)
    found = {}
    arms = ("plain", "ours") if tiny else ("plain", *infer.COMMANDS)
    for arm, each, start in infer.measure(folder, arms, 1):
        found[arm] = each, start
        yield Figure(f"seconds a video, {arm}", each, "s")
        if arm == "ours":
            ratio = each / found["plain"][0]
            yield Figure("ours ÷ the plain way, a video", ratio, "×", most=0.2 if has_card() else None)
    bounds = infer.measure_bounds(folder)
    for what, taken in bounds.items():
        yield Figure(f"a video's crops that are there: {what}", taken, "ms")
    yield f"{model} at {size} px\n\n{infer.describe(found, bounds)}"


def extraction(folder: Path, limit_s: float, *, tiny: bool) -> Found:
    """From clips to crops against decoding alone with all cores, and against the loop that a user would write."""
    import detect
    import extract
    import people
    from tqdm import tqdm

    cores = len(os.sched_getaffinity(0))
    arms = ("a2", "c") if tiny else ("a2", "b2", "c")
    for size, (height, width) in list(detect.SIZES.items())[: 1 if tiny else None]:
        made = people.clips(folder / size, height, width, number=2 if tiny else 8, seconds=1 if tiny else 4)
        files = [str(path) for path in made] * (1 if tiny else max(1, 2 * cores // len(made)))
        with tqdm(total=len(arms), desc=size, unit=" arm") as bar:
            results = extract.measure(files, cores, 1, bar, arms)
        taken = {arm: 1000 * results[arm][0]["seconds"] for arm in arms}
        yield Figure(f"a video, {size}, decoding alone", taken["a2"], "ms")
        yield Figure(f"a video, {size}, ours", taken["c"], "ms")
        ratio = taken["c"] / taken["a2"]
        yield Figure(f"ours ÷ decoding alone, {size}", ratio, "×", most=1.3 if has_card() else None)
        yield extract.describe(size, files, results, cores)


TINY_DEMO = (
    *("crop.size=64", "extract.num_frames=2", "extract.detect_size=240", "folds.num_folds=2"),
    *("model.name=test_resnet", "model.pretrained=false", "model.image_size=48"),
    *("train.epochs=2", "train.batch_size=8"),
)


def demo(folder: Path, limit_s: float, *, tiny: bool) -> Found:
    """The demo set, from rendering to a checked submission; one fold is trained."""
    settings = []
    if tiny:
        from deepfake.demo.render import render_demo

        render_demo(folder / "people", seed=1, num_workers=2, num_train=8, num_test=2)
        settings = [f"data.root={folder / 'people'}", *TINY_DEMO]
    began, said = time.perf_counter(), ""
    command = [sys.executable, "-m", "deepfake", "index", "folds", "extract", "train", "infer", "fold=0", *settings]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            said += line
    if process.returncode:
        raise SystemExit(process.returncode)  # the command has said why
    yield Figure("minutes, demo set, one fold", (time.perf_counter() - began) / 60)
    for name, pattern in (("out of fold", r"out-of-fold.* AUC (\S+), log loss ([\d.]+)"), ("test", TEST_LINE)):
        auc, log_loss = re.search(pattern, said).groups()
        yield Figure(f"{name}: AUC of media", float(auc), least=None if tiny else 0.8)
        yield Figure(f"{name}: log loss of media", float(log_loss))


TEST_LINE = r"media with a known label.* AUC (\S+), log loss ([\d.]+)"


@dataclass(frozen=True)
class Part:
    """What is measured, and how long it may take."""

    run: Callable[..., Found]
    limit_s: float
    tiny_limit_s: float

    @property
    def about(self) -> str:
        return self.run.__doc__.splitlines()[0]


PARTS = {  # their limits add up to more than gpu.py gives all of them together: hardly one needs the whole of its own
    "tests": Part(tests, 100, 120),
    "detection": Part(detection, 40, 120),
    "training": Part(training, 150, 120),
    "inference": Part(inference, 160, 120),
    "demo": Part(demo, 90, 120),
    "extraction": Part(extraction, 100, 120),
}


def main(name: str, to: Path, limit_s: float, *, tiny: bool) -> None:
    """One part, in a process of its own; a line of JSON for each thing that it found, at once."""
    import json

    with tempfile.TemporaryDirectory() as folder, to.open("w") as lines:
        for found in PARTS[name].run(Path(folder), limit_s, tiny=tiny):
            lines.write(json.dumps(found if isinstance(found, str) else found.to_json()) + "\n")
            lines.flush()
