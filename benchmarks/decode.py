"""Decoders side by side: how fast each is, and what each makes of odd and damaged files.

    python benchmarks/decode.py --media FOLDER FOLDER --limit 20 --python decord2/bin/python

writes benchmarks/results/decode-<hardware>.md. decord2 is imported as decord too and cannot be installed
beside it: --python names the interpreter of an environment that has it, with NumPy. Every decoder runs in processes of
its own, which may die or hang without harm.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from machine import RESULTS, hardware, slug, table

if TYPE_CHECKING:
    import av

ROOT = Path(__file__).resolve().parents[1]
NUM_FRAMES = 16  # what extraction takes of a video
TIMEOUT_S = 20
OURS, REFERENCE = "ours", "PyAV, every frame in turn"
MEMORY_BYTES = 8 << 30
SAME_LEVELS = 3  # of 255, mean of a frame: what another conversion from YUV may differ by; another frame differs more

Numbered = Iterator[tuple[int, np.ndarray]]


# --- the decoders: path, kind, number of evenly spread frames (0 = all) → how many there are, and (number, RGB frame)


def middles(num_available: int, num_wanted: int) -> list[int]:
    """As deepfake.media.medium.spread_indices, which an environment with decord2 may be unable to import."""
    count = min(num_wanted or num_available, num_available)
    return [int((number + 0.5) * num_available / count) for number in range(count)]


def read_with_decord(path: str, kind: str, num_frames: int, num_threads: int) -> tuple[int, Numbered]:
    import decord

    reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=num_threads)
    if not num_frames:
        return len(reader), ((number, reader.next().asnumpy()) for number in range(len(reader)))
    wanted = middles(len(reader), num_frames)
    return len(reader), zip(wanted, reader.get_batch(wanted).asnumpy()) if wanted else iter(())


def read_with_pyav(path: str, kind: str, num_frames: int) -> tuple[int, Numbered]:
    """As one would write it in a minute: everything is decoded up to the last frame that is wanted."""
    import av

    with av.open(path) as container:
        num_available = container.streams.video[0].frames or sum(1 for _ in container.decode(video=0))
    return num_available, _decoded(path, middles(num_available, num_frames))


def _decoded(path: str, wanted: list[int]) -> Numbered:
    import av

    with av.open(path) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                yield number, frame.to_ndarray(format="rgb24")
            if number >= wanted[-1]:
                return


def read_with_ours(path: str, kind: str, num_frames: int) -> tuple[int, Numbered]:
    from deepfake.media.medium import Limits
    from deepfake.media.video import open_medium

    medium = open_medium(Path(path), kind, num_frames or sys.maxsize, Limits(max_megapixels=100, max_minutes=60))
    return medium.num_frames, ((frame.frame_idx, frame.image_HWC) for frame in medium)


def read_in_turn(path: str, kind: str, num_frames: int) -> tuple[int, Numbered]:
    """The reference: every packet of a video decoded in its turn, on one thread, without those that fail; upright."""
    num_available = sum(1 for _ in _in_turn(path)) if kind == "video" else 0
    wanted = middles(num_available, num_frames)
    upright = (
        (number, np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))
        for number, frame in enumerate(_in_turn(path))
        if number in wanted
    )
    return num_available, upright if wanted else iter(())


def _in_turn(path: str) -> Iterator[av.VideoFrame]:
    import av

    with av.open(path, metadata_errors="ignore") as container:
        stream = container.streams.best("video")
        stream.thread_count = 1
        packets = container.demux(stream)
        while True:
            try:
                yield from next(packets).decode()
            except (av.EOFError, StopIteration):
                return
            except av.FFmpegError:
                continue


DECODERS: dict[str, Callable[..., tuple[int, Numbered]]] = {
    "decord-1": lambda *request: read_with_decord(*request, num_threads=1),
    "decord-0": lambda *request: read_with_decord(*request, num_threads=0),
    "pyav": read_with_pyav,
    "ours": read_with_ours,
    "in-turn": read_in_turn,
}


# --- a process that decodes: one JSON line in, one out


def work(decoder: str) -> None:
    """Answer requests from stdin until it ends. Whatever the libraries print goes nowhere."""
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for line in sys.stdin:
        answers.write(json.dumps(_answer(decoder, **json.loads(line))) + "\n")
        answers.flush()


def _answer(decoder: str, path: str, kind: str, num_frames: int, keep: str) -> dict:
    """What came of one file: {"outcome": "frames", …} or {"outcome": "error", "detail": …}.

    keep: where to write the frames, "" = nowhere.
    """
    wall_s, cpu_s, numbers, images = time.perf_counter(), time.process_time(), [], []
    try:
        num_available, frames = DECODERS[decoder](path, kind, num_frames)
        for number, image in frames:
            numbers.append(int(number))
            if keep:
                images.append(image)
    except Exception as error:  # whatever a decoder raises is what is to be known of it
        return {"outcome": "error", "detail": _words(error, path)}
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    if keep:
        np.savez(keep, *images)
    outcome = "frames" if numbers else "error"
    times = {"wall_s": wall_s, "cpu_s": cpu_s}
    return {"outcome": outcome, "detail": "", "num_available": num_available, "numbers": numbers} | times


def _words(error: Exception, path: str) -> str:
    """What an error says, without the folders of the file and of the library's sources, and without the hour."""
    said = re.sub(r"\[\d\d:\d\d:\d\d\] \S+ ", "", str(error)).replace(path, Path(path).name)
    return " ".join(f"{type(error).__name__}: {said}".split())[:160]


@dataclass
class Worker:
    """A decoder in a process of its own; started anew after the process has died or hung."""

    decoder: str
    python: str
    label: str
    _process: subprocess.Popen | None = field(default=None, repr=False)

    def ask(self, path: Path, kind: str, num_frames: int, keep: Path | None = None) -> dict:
        """The answer, or {"outcome": "crash" or "hang", "detail": …}."""
        process = self._started()
        request = {"path": str(path), "kind": kind, "num_frames": num_frames, "keep": str(keep or "")}
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], TIMEOUT_S)[0]:
            self.stop()
            return {"outcome": "hang", "detail": f"no answer in {TIMEOUT_S} s"}
        line = process.stdout.readline()
        if line.endswith(b"\n"):
            return json.loads(line)
        status = process.wait()
        self.stop()
        return {"outcome": "crash", "detail": f"signal {-status}" if status < 0 else f"exit status {status}"}

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _started(self) -> subprocess.Popen:
        if self._process is None:
            command = [self.python, __file__, "--work", self.decoder]
            environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
            )
        return self._process


def start_workers(other_python: str) -> list[Worker]:
    """All decoders; those that are decord again with the other interpreter."""
    import av

    pythons = [sys.executable, *([other_python] if other_python else [])]
    names = [_decord_name(python) for python in pythons]
    threads = {"decord-1": "1 thread", "decord-0": "all threads"}
    decords = [
        Worker(decoder, python, f"{name}, {said}")
        for python, name in zip(pythons, names)
        for decoder, said in threads.items()
    ]
    here = {"pyav": f"PyAV {av.__version__}, plain", "ours": OURS, "in-turn": REFERENCE}
    return [*decords, *(Worker(decoder, sys.executable, label) for decoder, label in here.items())]


def _decord_name(python: str) -> str:
    ask = "import decord; print(decord.__version__)"
    version = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()
    return f"decord{'' if python == sys.executable else '2'} {version}"


# --- speed


@dataclass(frozen=True)
class Clips:
    """Videos that are one row of the table."""

    name: str
    paths: tuple[Path, ...]


def make_clips(folder: Path) -> list[Clips]:
    """Clips as they come from phones and platforms: 30 frames a second, a key frame every 250."""
    wanted = {
        "360p h264, 10 s.mp4": ((360, 640), 300, "libx264", {}),
        "720p h264, 10 s.mp4": ((720, 1280), 300, "libx264", {}),
        "720p h264, 10 s, key frame every 1 s.mp4": ((720, 1280), 300, "libx264", {"g": "30"}),
        "1080p h264, 5 s.mp4": ((1080, 1920), 150, "libx264", {}),
        "720p hevc, 5 s.mp4": ((720, 1280), 150, "libx265", {}),
        "360p vp9, 5 s.webm": ((360, 640), 150, "libvpx-vp9", {}),
        "480p mpeg4, 10 s.avi": ((480, 640), 300, "mpeg4", {"qscale": "5", "g": "250"}),
    }
    for name, settings in wanted.items():
        _write_clip(folder / name, *settings)
    return [Clips(Path(name).stem, (folder / name,)) for name in wanted]


def _write_clip(path: Path, size: tuple[int, int], num_frames: int, codec: str, options: dict[str, str]) -> None:
    import av

    fast = {"preset": "veryfast", "deadline": "realtime", "cpu-used": "8", "x265-params": "log-level=none"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options=options | ({} if codec == "mpeg4" else fast))
        (stream.height, stream.width), stream.pix_fmt = size, "yuv420p"
        for image_HW3 in _panned(*size, num_frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image_HW3, format="rgb24")))
        container.mux(stream.encode())


def _panned(height: int, width: int, num_frames: int) -> Iterator[np.ndarray]:
    """A camera that moves over a soft texture, with a sensor's noise."""
    import cv2

    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 12, width // 12, 3), np.uint8)
    wall = cv2.resize(coarse, (width + 2 * num_frames, height + num_frames), interpolation=cv2.INTER_CUBIC)
    for number in range(num_frames):
        view = wall[number : number + height, 2 * number : 2 * number + width]
        yield cv2.add(view, rng.integers(0, 5, view.shape, np.uint8))


def measure_speed(workers: list[Worker], clips: list[Clips], repeats: int) -> list[dict]:
    """Medians over interleaved repeats, seconds for all the clips of a row together. A first round is not counted."""
    from tqdm import tqdm

    rows = []
    todo = [(row, num_frames) for row in clips for num_frames in (NUM_FRAMES, 0)]
    for row, num_frames in tqdm(todo, desc="speed"):
        answers = {worker.label: [] for worker in workers}
        for _ in range(repeats + 1):
            for worker in workers:
                answers[worker.label].append([worker.ask(path, "video", num_frames) for path in row.paths])
        rows += [
            {"clips": row.name, "num_frames": num_frames or "all", "decoder": label} | _medians(rounds[1:])
            for label, rounds in answers.items()
        ]
    return rows


def _medians(rounds: list[list[dict]]) -> dict[str, float | None]:
    """Over the rounds, of the sums over the files; None where a file failed."""
    if any(answer["outcome"] != "frames" for answers in rounds for answer in answers):
        return {"wall_s": None, "cpu_s": None}
    return {
        unit: statistics.median(sum(answer[unit] for answer in answers) for answers in rounds)
        for unit in ("wall_s", "cpu_s")
    }


# --- formats and damage


@dataclass(frozen=True)
class Case:
    """A file, and the group that it is counted in."""

    group: str
    path: Path
    kind: str


MUST, MUST_NOT, EITHER, DAMAGED = "odd, readable", "odd, no medium", "odd, either", "damaged"


def make_cases(folder: Path, num_damaged: int) -> list[Case]:
    """The oddities and damaged files of the tests."""
    from odd_media import make_damaged, make_oddities

    from deepfake.sources.tree import kind_of

    odd = [
        Case({True: MUST, False: MUST_NOT, None: EITHER}[odd.readable], odd.path, odd.kind)
        for odd in make_oddities(folder).values()
    ]
    return odd + [Case(DAMAGED, folder / name, kind_of(name)) for name in make_damaged(folder, num_damaged, seed=1)]


def list_media(folder: Path, limit: int) -> list[Case]:
    """The first media of a folder, by name."""
    from deepfake.sources.tree import kind_of, scan

    return [Case(f"media: {folder.name}", folder / name, kind_of(name)) for name in scan(folder).media[:limit]]


def try_formats(workers: list[Worker], cases: list[Case], scratch: Path) -> list[dict]:
    """For each file each decoder's answer, and how its frames differ from the reference's."""
    from tqdm import tqdm

    rows = []
    for case in tqdm(cases, desc="formats"):
        kept = {worker.label: scratch / f"{number}.npz" for number, worker in enumerate(workers)}
        answers = {worker.label: worker.ask(case.path, case.kind, NUM_FRAMES, kept[worker.label]) for worker in workers}
        reference = answers[REFERENCE]
        for label, answer in answers.items():
            if answer["outcome"] == reference["outcome"] == "frames":
                answer |= _difference(answer, kept[label], reference, kept[REFERENCE])
        rows.append({"group": case.group, "file": case.path.name, "kind": case.kind, "answers": answers})
    return rows


def _difference(answer: dict, file: Path, reference: dict, reference_file: Path) -> dict:
    """{"mean": …, "max": …} of the frame that differs most, levels of 255; {"unlike": …} of other counts or shapes."""
    if answer["num_available"] != reference["num_available"]:
        return {"unlike": f"{answer['num_available']} frames, not {reference['num_available']}"}
    pairs = list(zip(_frames(file), _frames(reference_file)))
    for image, expected in pairs:
        if image.shape != expected.shape:
            return {"unlike": f"shape {image.shape}, not {expected.shape}"}
    differences = [np.abs(image.astype(int) - expected) for image, expected in pairs]
    return {
        "mean": float(max(each.mean() for each in differences)),
        "max": int(max(each.max() for each in differences)),
    }


def _frames(path: Path) -> Iterator[np.ndarray]:
    with np.load(path) as archive:
        yield from (archive[name] for name in archive.files)


# --- the report


def speed_table(rows: list[dict], labels: list[str], unit: str) -> str:
    """One line for clips and frames, one column a decoder: milliseconds, and the ratio to the first decoder."""
    lines = {}
    for row in rows:
        lines.setdefault((row["clips"], row["num_frames"]), {})[row["decoder"]] = row[unit]
    cells = [
        [f"{clips}: {num_frames} frames", *(_speed_cell(line[label], line[labels[0]]) for label in labels)]
        for (clips, num_frames), line in lines.items()
    ]
    return table([f"{'time' if unit == 'wall_s' else 'processor time'}, ms", *labels], cells)


def _speed_cell(seconds: float | None, base: float | None) -> str:
    if seconds is None:
        return "failed"
    return f"{1000 * seconds:.0f}" + (f" ({seconds / base:.2f} ×)" if base else "")


def outcome_table(rows: list[dict], labels: list[str]) -> str:
    """One line a group and kind, one column a decoder: how many files gave frames, an error, a crash, a hang."""
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(f"{row['group']}: {row['kind']}s", []).append(row["answers"])
    lines = []
    for group, answers in groups.items():
        counts = [Counter(answer[label]["outcome"] for answer in answers) for label in labels]
        cells = [" / ".join(str(count[kind]) for kind in ("frames", "error", "crash", "hang")) for count in counts]
        lines.append([f"{group} ({len(answers)})", *cells])
    return table(["frames / error / crash / hang", *labels], lines)


def agreement_table(rows: list[dict], labels: list[str]) -> str:
    """How the frames of videos compare with the reference's, in numbers of files."""
    head = [f"against {REFERENCE}", "the same frames", "other frames", "another number or shape", "largest difference"]
    lines = []
    for label in labels:
        found = [row["answers"][label] for row in rows]
        same = [answer for answer in found if "mean" in answer and answer["mean"] <= SAME_LEVELS]
        other = sum("mean" in answer for answer in found) - len(same)
        most = max((answer["max"] for answer in same), default=0)
        lines.append([label, len(same), other, sum("unlike" in answer for answer in found), most])
    return table(head, lines)


def differing(rows: list[dict], labels: list[str]) -> str:
    """Lists: crashes and hangs; where another decoder gives frames and ours does not, and the reverse; wrong frames."""
    parts = [_listed(f"Crashes and hangs of {label}", _ends(rows, label)) for label in labels]
    faults = [(row["file"], row["answers"][OURS]) for row in rows if row["answers"][OURS]["outcome"] == "error"]
    names = [f"{file} ({answer['detail']})" for file, answer in faults if not answer["detail"].startswith("Unreadable")]
    parts.append(_listed("Errors of ours that are no UnreadableError", names))
    others = [label for label in labels if label not in (OURS, REFERENCE) and "all threads" not in label]
    for label in (*others, REFERENCE):
        only = [row for row in rows if row["answers"][label]["outcome"] == "frames" != row["answers"][OURS]["outcome"]]
        names = [f"{row['file']} (ours: {row['answers'][OURS]['detail']})" for row in only]
        parts.append(_listed(f"{label} gives frames, ours does not", names))
    for label in others:
        only = [row for row in rows if row["answers"][label]["outcome"] != "frames" == row["answers"][OURS]["outcome"]]
        names = [row["file"] for row in only if row["kind"] == "video"]
        parts.append(_listed(f"Ours gives frames, {label} does not; videos", names))
    undamaged = [row for row in rows if row["group"] != DAMAGED]
    parts += [
        _listed(f"Frames of {label} unlike the reference's, undamaged files", _unlike(undamaged, label))
        for label in (*others, OURS)
    ]
    parts.append(
        _listed(
            "Frames of ours unlike the reference's, damaged files",
            _unlike([row for row in rows if row["group"] == DAMAGED], OURS),
        )
    )
    return "\n".join(parts)


def _ends(rows: list[dict], label: str) -> list[str]:
    answers = [(row["file"], row["answers"][label]) for row in rows]
    return [f"{file} ({answer['detail']})" for file, answer in answers if answer["outcome"] in ("crash", "hang")]


def _unlike(rows: list[dict], label: str) -> list[str]:
    """The files of which a decoder gives other frames than the reference, and in what way."""
    answers = [(row["file"], row["answers"][label]) for row in rows]
    counts = [f"{file} ({answer['unlike']})" for file, answer in answers if "unlike" in answer]
    frames = [
        f"{file} (mean {answer['mean']:.0f} of 255)" for file, answer in answers if answer.get("mean", 0) > SAME_LEVELS
    ]
    return counts + frames


def _listed(title: str, items: list[str]) -> str:
    return f"### {title} ({len(items)})\n\n" + (", ".join(f"`{item}`" for item in items) or "none") + "\n"


def report(speed: list[dict], formats: list[dict], repeats: int) -> str:
    """The results as Markdown."""
    parts = [f"# Decoders on {hardware()}\n"]
    if speed:
        labels = list(dict.fromkeys(row["decoder"] for row in speed))
        parts.append(
            f"Speed: medians of {repeats} interleaved repeats, from opening the file to the last RGB frame; in "
            f"brackets the ratio to {labels[0]}. {NUM_FRAMES} frames: evenly spread. The machine had other work to do; "
            "processor time is the steadier measure, and the right one where all cores decode side by side.\n"
        )
        parts += [speed_table(speed, labels, unit) for unit in ("wall_s", "cpu_s")]
    if formats:
        labels = list(formats[0]["answers"])
        parts.append(f"Formats and damage: {len(formats)} files, {NUM_FRAMES} frames of each, {TIMEOUT_S} s at most.\n")
        parts.append(outcome_table(formats, labels))
        odd = [row for row in formats if row["group"] != DAMAGED]
        parts.append("Undamaged files; the reference turns frames by quarters, and knows nothing of mirrored ones:\n")
        parts.append(agreement_table(odd, labels))
        parts.append("Damaged files, of which ours and decord count also the frames that do not decode:\n")
        parts.append(agreement_table([row for row in formats if row["group"] == DAMAGED], labels))
        parts.append(differing(formats, labels))
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, nargs="*", default=[], help="folders of videos and images to try as well")
    parser.add_argument("--limit", type=int, default=20, help="media of each folder")
    parser.add_argument("--python", default="", help="interpreter of an environment with decord2 and NumPy")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--damaged", type=int, default=250, help="damaged files to make")
    parser.add_argument("--only", choices=("speed", "formats"), help="one half of it")
    parser.add_argument("--work", choices=DECODERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.work)
        return
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
    with tempfile.TemporaryDirectory() as folder:
        measure(args, Path(folder))


def measure(args: argparse.Namespace, folder: Path) -> None:
    """Make the media, run the decoders, write the results."""
    for name in ("clips", "cases", "scratch"):
        (folder / name).mkdir()
    workers = start_workers(args.python)
    media = [list_media(path, args.limit) for path in args.media]
    speed, formats = [], []
    try:
        if args.only != "formats":
            rows = [(cases[0].group, tuple(case.path for case in cases if case.kind == "video")) for cases in media]
            of_media = [Clips(f"{len(paths)} of {group}", paths) for group, paths in rows if paths]
            timed = [worker for worker in workers if worker.label != REFERENCE]
            speed = measure_speed(timed, make_clips(folder / "clips") + of_media, args.repeats)
        if args.only != "speed":
            cases = [*make_cases(folder / "cases", args.damaged), *chain(*media)]
            formats = try_formats(workers, cases, folder / "scratch")
    finally:
        for worker in workers:
            worker.stop()
    path = RESULTS / f"decode-{slug(hardware())}.md"
    path.write_text(report(speed, formats, args.repeats))
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
