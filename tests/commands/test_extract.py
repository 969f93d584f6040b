"""Extraction through `python -m deepfake`: odd media, processes that die, kills, Ctrl-C, full disks, second tries."""

from __future__ import annotations

import json
import os
import pickle
import re
import resource
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import odd_media
import pandas as pd
import pytest
from PIL import Image
from pipeline import DIES_AT_A_RENAME, STALLS, THOROUGH, Command, Done, built, locked, run, start, wait_until

from deepfake.files import digest
from deepfake.tables import BOX, LANDMARK_COLUMNS

NUM_KILLS, NUM_DAMAGED = (12, 100) if THOROUGH else (4, 40)
QUICK = ("crop.size=64", "extract.num_frames=2", "extract.detect_size=240", "num_workers=2")
REUSING = (*QUICK, "extract.reuse_boxes=true")
WHOLE = ("crop.mode=whole", "crop.size=64", "data.layout=unlabelled", "num_workers=1")

# Run at the start of every process of a command: what befalls media of these names; a slow start.
FAULTS = """
import itertools, os, signal, sys, time
from pathlib import Path

FOLDER = Path.cwd()

def sleep_times(count, name):
    marks = FOLDER / name
    if not marks.exists() or marks.stat().st_size < count:
        marks.open("a").write("x")
        time.sleep(600)

DEEDS = {
    "dies.mp4": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "sleeps.mp4": lambda: time.sleep(600),
    "sleeps_once.png": lambda: sleep_times(1, "once"),
    "sleeps_twice.png": lambda: sleep_times(2, "twice"),
}

if any("multiprocessing" in word for word in sys.orig_argv):
    time.sleep(float(os.environ.get("SECONDS_TO_START", 0)))
    from deepfake.media import workers

    def crop_medium(media_id, *arguments, cut=workers.crop_medium, **settings):
        DEEDS.get(media_id, lambda: None)()
        return cut(media_id, *arguments, **settings)

    workers.crop_medium = crop_medium
"""


@dataclass(frozen=True)
class Tables:
    """What an extraction has written below data/<dataset>."""

    folder: Path

    @property
    def media(self) -> pd.DataFrame:
        return pd.read_parquet(self.folder / "media.parquet").set_index("media_id", drop=False)

    @property
    def faces(self) -> pd.DataFrame:
        return pd.read_parquet(self.folder / "faces.parquet")

    @property
    def extracted(self) -> pd.DataFrame:
        return pd.read_csv(self.folder / "extracted.csv", keep_default_na=False).set_index("media_id")

    @property
    def problems(self) -> pd.Series:
        """media_id → error."""
        table = pd.read_csv(self.folder / "extract_problems.csv", keep_default_na=False)
        return table.set_index("media_id").error

    @property
    def journal(self) -> list[bytes]:
        """The journal's whole lines, the settings first."""
        path = self.folder / "extract_journal.jsonl"
        return path.read_bytes().split(b"\n")[:-1] if path.is_file() else []

    def contents(self) -> dict[str, bytes | list[bytes]]:
        """Every file that does not depend on when it was written, and the journal in one order."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and path.suffix not in (".json", ".jsonl")]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files} | {"": sorted(self.journal)}


# --- a folder of odd media


@dataclass(frozen=True)
class Corpus:
    """A folder of odd and damaged media, when its extraction has ended."""

    oddities: dict[str, odd_media.Odd]
    done: Done
    peak_bytes: int
    tables: Tables


@pytest.fixture(scope="session")
def corpus(demo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Every oddity, many damaged files, a clip with a face, one with a broken tail, and two that are deadly."""
    folder = built(tmp_path_factory, "corpus", lambda folder: crop_oddities(folder, demo_root))
    with open(folder / "result.pickle", "rb") as handle:
        return Corpus(*pickle.load(handle), Tables(folder / "data/odd"))


def crop_oddities(folder: Path, demo_root: Path) -> None:
    media = folder / "odd"
    media.mkdir()
    oddities = odd_media.make_oddities(media)
    odd_media.make_damaged(media, NUM_DAMAGED, seed=0)
    shutil.copy(next((demo_root / "media/test").glob("*.mp4")), media / "person.mp4")
    for name in ("dies.mp4", "sleeps.mp4"):
        (media / name).write_bytes(odd_media.plain_mp4())
    broken = odd_media.film(".mp4", odd_media.Video(num_frames=40, params="keyint=8"), movflags="faststart")
    (media / "broken_tail.mp4").write_bytes(broken[: len(broken) // 2])
    limits = [f"extract.{name}={value}" for name, value in odd_media.ODD_LIMITS.items()]
    options = ["data.root=odd", "data.layout=unlabelled", *QUICK, *limits, "extract.timeout_s=10"]
    command = start(folder, "index", "extract", *options, prelude=FAULTS)
    done = command.ended()
    with open(folder / "result.pickle", "wb") as handle:
        pickle.dump((oddities, done, command.peak_bytes), handle)


def test_a_folder_of_odd_media_is_worked_off(corpus: Corpus) -> None:
    assert corpus.done.status == 0, corpus.done.output
    assert len(corpus.tables.media) > 300 + NUM_DAMAGED


def test_nothing_but_the_log_and_the_progress_is_on_the_screen(corpus: Corpus) -> None:
    for line in corpus.done.output.splitlines():
        assert re.match(r"\d\d:\d\d:\d\d (index|extract) |         extract : +\d+%\|", line)


def test_every_odd_medium_is_cut_or_a_problem_and_never_both(corpus: Corpus) -> None:
    tables = corpus.tables
    assert sorted([*tables.extracted.index, *tables.problems.index]) == sorted(tables.media.index)
    assert set(tables.faces.media_id) == set(tables.extracted.index)


def test_odd_media_are_read_or_refused_as_they_should(corpus: Corpus) -> None:
    problems = corpus.tables.problems
    errors = {name: problems.get(name, "") for name in corpus.oddities}
    assert {name: errors[name] for name, odd in corpus.oddities.items() if not is_right(errors[name], odd)} == {}
    assert set(problems) == {"corrupt", "crashed", "empty", "no_video_stream", "timeout", "too_large", "too_long"}


def is_right(error: str, odd: odd_media.Odd) -> bool:
    """Whether that is what should come of it; `error` is empty for what was cut."""
    if odd.readable is None:
        return True
    return error == "" if odd.readable else error != "" and error == (odd.error or error)


def test_media_that_kill_their_process_or_never_end_are_called_so(corpus: Corpus) -> None:
    problems = corpus.tables.problems
    assert problems[problems.isin(["crashed", "timeout"])].to_dict() == {"dies.mp4": "crashed", "sleeps.mp4": "timeout"}


def test_a_broken_tail_is_noted_in_the_table_and_on_the_screen(corpus: Corpus) -> None:
    extracted = corpus.tables.extracted
    assert extracted.note["broken_tail.mp4"] == "the file ends after 1.7 of 3.3 s"
    (said,) = re.findall(r"(\d+) of \d+ \(.*\) media are damaged and used in part: ", corpus.done.output)
    assert int(said) == (extracted.note != "").sum()


def test_every_crop_of_odd_media_is_a_row_and_decodes(corpus: Corpus) -> None:
    folder = corpus.tables.folder
    crops = [path for path in folder.glob("crops/**/*") if path.is_file()]
    assert sorted(str(path.relative_to(folder)) for path in crops) == sorted(corpus.tables.faces.path)
    for path in crops:
        with Image.open(path) as crop:
            assert np.asarray(crop).shape == (64, 64, 3)


def test_no_odd_medium_takes_much_memory(corpus: Corpus) -> None:
    assert 0.3e9 < corpus.peak_bytes < 1.5e9  # 0.9 GB, of which 0.8 GB are there before the first medium


# --- kills and Ctrl-C


@pytest.fixture(scope="session")
def undisturbed(demo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the demo set was cropped at one go, training fakes where their originals' faces are."""

    def crop(folder: Path) -> None:
        run(folder, "index", "extract", f"data.root={demo_root}", *REUSING)

    return built(tmp_path_factory, "undisturbed", crop)


@pytest.fixture
def indexed(undisturbed: Path, tmp_path: Path) -> Tables:
    """The same set in tmp_path, of which nothing is cut."""
    tables = Tables(tmp_path / "data/people")
    tables.folder.mkdir(parents=True)
    for path in (undisturbed / "data/people").glob("[im]*"):
        shutil.copy(path, tables.folder)
    return tables


def test_kills_at_any_moment_change_nothing(
    undisturbed: Path, demo_root: Path, indexed: Tables, tmp_path: Path
) -> None:
    rng, commands, total = np.random.default_rng(7), [], len(indexed.media)
    for number in range(NUM_KILLS):
        least_cut = int((number + rng.random()) * (total - 4) / NUM_KILLS)
        before = indexed.journal
        (tmp_path / "begun").unlink(missing_ok=True)
        most = min(max(least_cut + 4 - len(before), 4), total - len(before))  # so that it does not end by itself
        arguments = ("extract", f"data.root={demo_root}", *REUSING)
        commands.append(start(tmp_path, *arguments, prelude=STALLS, MEDIA_BEFORE_STALL=str(most)))
        wait_until(lambda most=most: (tmp_path / "begun").is_file() and (tmp_path / "begun").stat().st_size >= most - 2)
        time.sleep(rng.uniform(0, 0.1))
        if len(commands) % 3:
            commands[-1].kill()
        else:  # alone, as for want of memory: the processes that cut have to find out
            commands[-1].process.signal(signal.SIGKILL)
        assert commands[-1].process.wait() == -signal.SIGKILL
        assert set(before) <= set(indexed.journal), "what was cut is lost"
    assert len(indexed.journal) > total / 2
    run(tmp_path, "extract", f"data.root={demo_root}", *REUSING)
    assert indexed.contents() == Tables(undisturbed / "data/people").contents()
    wait_until(lambda: not any(command.processes() for command in commands))


def test_kills_between_two_tables_change_nothing(
    undisturbed: Path, demo_root: Path, indexed: Tables, tmp_path: Path
) -> None:
    command = ("extract", f"data.root={demo_root}", *REUSING)
    shutil.copytree(undisturbed / "data/people/crops", indexed.folder / "crops")
    shutil.copy(undisturbed / "data/people/extract_journal.jsonl", indexed.folder)
    files = ("journal", "problems", "extracted", "faces", "provenance")
    for number in range(len(files)):
        done = start(tmp_path, *command, prelude=DIES_AT_A_RENAME, RENAMES_BEFORE_DEATH=str(number)).ended()
        assert done.status == -signal.SIGKILL, done.output
    assert not (indexed.folder / "faces.parquet.json").exists()
    assert "up to date" not in run(tmp_path, *command)
    assert indexed.contents() == Tables(undisturbed / "data/people").contents()


def test_an_interrupted_extraction_goes_on(undisturbed: Path, demo_root: Path, indexed: Tables, tmp_path: Path) -> None:
    arguments = ("extract", f"data.root={demo_root}", *REUSING)
    command = start(tmp_path, *arguments, prelude=STALLS, MEDIA_BEFORE_STALL="15")
    wait_until(lambda: len(indexed.journal) > 10)
    command.interrupt()
    interrupted(command.ended(timeout_s=60))
    num_cut = len(indexed.journal) - 1
    assert 10 <= num_cut < len(indexed.media)
    assert f"going on: {num_cut} of {len(indexed.media)}" in run(tmp_path, *arguments)
    assert indexed.contents() == Tables(undisturbed / "data/people").contents()


def test_an_extraction_can_be_interrupted_while_its_processes_start(
    demo_root: Path, indexed: Tables, tmp_path: Path
) -> None:
    arguments = ("extract", f"data.root={demo_root}", *REUSING)
    command = start(tmp_path, *arguments, prelude=FAULTS, SECONDS_TO_START="4")
    wait_until(lambda: len(indexed.journal) > 0)
    time.sleep(1)
    command.interrupt()
    interrupted(command.ended(timeout_s=60))


def interrupted(done: Done) -> None:
    """It ended with status 130 and one line below those of the progress."""
    assert done.status == 130, done.output
    *before, last = done.output.splitlines()
    assert last == "interrupted; the same command goes on from what is finished"
    assert all(line.startswith("         extract : ") for line in before), done.output


# --- faults of the disk


def failed(done: Done, *words: str) -> None:
    """It ended with status 2 and one line that says all the words."""
    assert done.status == 2, done.output
    (error,) = [line for line in done.output.splitlines() if line.startswith("error: ")]
    assert all(word in error for word in words), error
    assert "Traceback" not in done.output


def start_with_file_limit(limit_bytes: int, folder: Path, *arguments: object) -> Command:
    """As `start`, but no file can grow beyond a size: what a full disk answers."""
    command = start(folder, *arguments)
    resource.prlimit(command.process.number, resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    return command


@pytest.fixture
def small(tmp_path: Path) -> Tables:
    """Five grey pictures, and one of noise, whose crop is the largest file but for the tables; indexed, in tmp_path."""
    media = tmp_path / "small"
    media.mkdir()
    for number in range(5):
        Image.fromarray(np.full((40, 60, 3), 50 * number, np.uint8)).save(media / f"{number}.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)).save(media / "noise.png")
    run(tmp_path, "index", "data.root=small", *WHOLE)
    return Tables(tmp_path / "data/small")


def test_what_cannot_be_written_is_said_and_extraction_goes_on_when_it_can(small: Tables, tmp_path: Path) -> None:
    command = ("extract", "data.root=small", *WHOLE)
    (small.folder / "crops").touch()
    failed(start(tmp_path, *command).ended(), "small/crops/", "Not a directory")
    (small.folder / "crops").unlink()
    for limit_bytes, num_cut in ((1500, 2), (5000, 5), (9500, 6)):  # too small for the journal, a crop, the table
        failed(start_with_file_limit(limit_bytes, tmp_path, *command).ended(), "File too large")
        assert len(small.journal) == 1 + num_cut
        assert not [path for path in small.folder.iterdir() if "faces.parquet" in path.name or ".tmp" in path.name]
    assert "going on: 6 of 6" in run(tmp_path, *command)
    assert len(small.faces) == len(small.extracted) == 6
    last = small.folder / small.faces.path.iloc[-1]
    np.testing.assert_array_equal(np.asarray(Image.open(last)), np.asarray(Image.open(tmp_path / "small/noise.png")))


def test_settings_changed_and_changed_back_do_not_leave_rows_without_crops(small: Tables, tmp_path: Path) -> None:
    command = ("extract", "data.root=small", *WHOLE)
    run(tmp_path, *command)
    before = small.contents()
    other = start(tmp_path, *command, "crop.size=32", prelude=DIES_AT_A_RENAME, RENAMES_BEFORE_DEATH="0").ended()
    assert other.status == -signal.SIGKILL and "crop.size: 64 → 32" in other.output
    run(tmp_path, *command)
    assert small.contents() == before


@pytest.mark.parametrize("finished", [True, False])
def test_what_was_extracted_before_the_table_had_all_its_columns_is_cut_anew(
    small: Tables, tmp_path: Path, finished: bool
) -> None:
    command = ("extract", "data.root=small", *WHOLE)
    run(tmp_path, *command)
    before, record_path = small.contents(), small.folder / "faces.parquet.json"
    record = json.loads(record_path.read_text())
    del record["config"]["faces_columns"]
    journal = small.folder / "extract_journal.jsonl"
    entries = [line for line in journal.read_text().splitlines()[1:] if line]
    old = [re.sub(r'"sharpness": [^,]+, ', "", entry) for entry in entries]
    assert old != entries
    journal.write_text("\n".join([digest(record["config"]), *old]) + "\n")
    if finished:
        record_path.write_text(json.dumps(record))
        small.faces.drop(columns="sharpness").to_parquet(small.folder / "faces.parquet", index=False)
    else:
        record_path.unlink()
        (small.folder / "faces.parquet").unlink()
    said = run(tmp_path, *command)
    assert ("cropping small anew: faces_columns: None → " if finished else "starting anew") in said
    assert small.contents() == before


def test_a_second_extraction_of_a_data_set_is_refused(small: Tables, deepfake: Callable[..., Done]) -> None:
    with locked(small.folder / ".extract.lock"):
        failed(deepfake("extract", "data.root=small", *WHOLE), "another process is extracting", "data/small")


# --- second tries


def test_what_failed_is_tried_again_when_it_is_due(tmp_path: Path) -> None:
    media, some = tmp_path / "some", Tables(tmp_path / "data/some")
    media.mkdir()
    for number, name in enumerate(("plain", "sleeps_once", "sleeps_twice")):
        Image.fromarray(odd_media.picture(number)).save(media / f"{name}.png")
    (media / "text.mp4").write_text("no clip")
    command = ("index", "extract", "data.root=some", *WHOLE, "num_workers=2", "extract.timeout_s=3")

    run(tmp_path, *command, prelude=FAULTS)
    assert some.problems.to_dict() == {
        "sleeps_once.png": "timeout",
        "sleeps_twice.png": "timeout",
        "text.mp4": "corrupt",
    }
    assert "extract  up to date" in run(tmp_path, *command, prelude=FAULTS)

    said = run(tmp_path, *command, "extract.retry=problems", prelude=FAULTS)
    assert "going on: 1 of 4" in said
    assert "2 of 4 (50.0 %) media could not be read (1 timeout, 1 corrupt)" in said
    assert some.problems.to_dict() == {"sleeps_twice.png": "timeout", "text.mp4": "corrupt"}

    Image.fromarray(odd_media.picture(3)).save(media / "late.png")
    assert "going on: 3 of 5" in run(tmp_path, *command, prelude=FAULTS)  # all but the sleeper and the late one
    assert some.problems.to_dict() == {"text.mp4": "corrupt"}

    in_steps = some.contents()
    shutil.rmtree(some.folder)
    run(tmp_path, *command)
    assert some.contents() == in_steps


# --- originals' boxes


def test_training_fakes_are_cut_where_their_original_is(undisturbed: Path) -> None:
    tables = Tables(undisturbed / "data/people")
    media, boxes = tables.media, tables.extracted.boxes
    fakes = media[(media.split == "train") & (media.label == 1)]
    assert len(fakes) == 24
    assert set(boxes[fakes.index]) == {"original"}
    assert set(boxes.drop(fakes.index)) == {"detector"}
    originals = media[(media.split == "train") & (media.label == 0)].set_index("source_id").media_id
    places = ["frame_idx", "face_idx", "track_id", "found", "prob", "pts_s", *BOX, *LANDMARK_COLUMNS]
    by_medium = dict(iter(tables.faces.groupby("media_id")[places]))
    for fake in fakes.itertuples():
        assert tables.extracted.original[fake.media_id] == originals[fake.source_id]
        theirs = by_medium[originals[fake.source_id]].reset_index(drop=True)
        pd.testing.assert_frame_equal(by_medium[fake.media_id].reset_index(drop=True), theirs)


def test_a_fake_whose_original_is_no_help_is_searched(demo_root: Path, tmp_path: Path) -> None:
    listing = pd.read_csv(demo_root / "listing.csv")
    clips = listing[listing.path.str.endswith(".mp4") & listing.method.isin(["real", "upsampled"])]
    clips = clips[clips.source_id.isin(sorted(clips.source_id.unique())[:4])]
    root = tmp_path / "four"
    (root / "media/train").mkdir(parents=True)
    for path in clips.path:
        shutil.copy(demo_root / path, root / path)
    clips.to_csv(root / "listing.csv", index=False)
    originals = clips[clips.method == "real"].set_index("source_id").path
    damaged, shorter, mirrored, whole = originals.index
    os.truncate(root / originals[damaged], 500)
    refilm(root / originals[shorter], lambda frames: frames[:-1])
    refilm(root / originals[mirrored], mirror)

    run(tmp_path, "index", "extract", "data.root=four", *REUSING, "num_workers=1")
    tables = Tables(tmp_path / "data/four")
    assert tables.problems.to_dict() == {originals[damaged]: "corrupt"}
    fakes = clips[clips.method == "upsampled"].set_index("source_id").path
    boxes = dict(zip(fakes.index, tables.extracted.boxes[fakes]))
    assert boxes == {damaged: "detector", shorter: "detector", mirrored: "detector", whole: "original"}

    shutil.copy(demo_root / originals[damaged], root / originals[damaged])
    refilm(root / originals[whole], mirror)
    run(tmp_path, "index", "extract", "data.root=four", *REUSING, "num_workers=1")
    boxes = dict(zip(fakes.index, tables.extracted.boxes[fakes]))
    assert boxes == {damaged: "original", shorter: "detector", mirrored: "detector", whole: "detector"}


def mirror(frames: list[np.ndarray]) -> list[np.ndarray]:
    return [frame[:, ::-1] for frame in frames]


def refilm(path: Path, change: Callable[[list[np.ndarray]], list[np.ndarray]]) -> None:
    """Write a clip anew from changed frames."""
    import av

    from deepfake.demo.encode import ClipFormat, write_clip

    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    height, width = frames[0].shape[:2]
    write_clip(path, change(frames), ClipFormat(height, width, fps=25, crf=20))


# --- whose faces


@pytest.fixture(scope="module")
def three_people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a clip of ten frames: a large and a middling face, and a small one that soon goes."""
    from deepfake.demo.encode import ClipFormat, write_clip

    root = tmp_path_factory.mktemp("three") / "three"
    root.mkdir()
    columns = [_portrait(number, px_per_unit) for number, px_per_unit in enumerate((80, 65, 50))]
    nobody = np.full_like(columns[2][0], 127)
    columns[2][2:] = [nobody] * 8
    write_clip(root / "three.mp4", map(np.hstack, zip(*columns)), ClipFormat(240, 720, fps=10, crf=18))
    return root


def _portrait(number: int, px_per_unit: float) -> list[np.ndarray]:
    """Ten frames of one person, 240 × 240 px."""
    from deepfake.demo.heads import build_head, render_head
    from deepfake.demo.identity import sample_identity
    from deepfake.demo.motion import sample_motion
    from deepfake.demo.pose import Camera

    rng = np.random.default_rng((3, number))
    head = build_head(sample_identity(rng), Camera(240, 240, px_per_unit, centre_xy=(120, 115)))
    motion = sample_motion(rng)
    return [render_head(head, motion.at(index / 10), rng).image_HW3 for index in range(10)]


@pytest.mark.parametrize(
    ("choice", "shown", "num_dropped"),
    [
        (["extract.faces=all", "extract.min_track=0"], [10, 10, 2], 0),
        (["extract.faces=top2", "extract.min_track=0"], [10, 10], 0),
        (["extract.faces=largest", "extract.min_track=0.5"], [10], 1),
    ],
)
def test_people_are_kept_by_size_and_by_how_long_they_show(
    three_people: Path, tmp_path: Path, choice: list[str], shown: list[int], num_dropped: int
) -> None:
    options = ["crop.size=64", "extract.num_frames=10", "num_workers=1", *choice]
    said = run(tmp_path, "index", "extract", f"data.root={three_people}", "data.layout=unlabelled", *options)
    tables = Tables(tmp_path / "data/three")
    faces = tables.faces.assign(person=tables.faces.x0 // 240)  # from the left, the largest first
    assert faces.groupby("track_id").size().to_list() == shown
    assert (faces.person == faces.track_id).all()
    facts = tables.extracted.loc["three.mp4"]
    assert (facts.tracks, facts.tracks_dropped) == (len(shown), num_dropped)
    assert ("1 tracks of faces were dropped" in said) == bool(num_dropped)
