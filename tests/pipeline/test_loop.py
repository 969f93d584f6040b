"""Scoring in the time there is: real steps by the real clock, with models and media that take the time that is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepfake.pipeline.arrivals import Arrivals, Crops
from deepfake.pipeline.backlog import Backlog
from deepfake.pipeline.effort import STRIDES, Clock
from deepfake.pipeline.loop import Scoring
from deepfake.pipeline.pacing import Pacer
from deepfake.tables import FACES
from deepfake.workspace.ensemble import Ensemble, Member
from deepfake.workspace.submission import Parts

VIEWS = ["identity", "hflip"]


@dataclass
class Time:
    """A clock on the wall that stands still unless somebody lets it go on."""

    now_s: float = 0.0

    def monotonic(self) -> float:
        return self.now_s


@dataclass
class FakePredictor:
    """Models that say nothing, slowly. passes, seen: how many there were, and crops."""

    time: Time
    seconds: Callable[[int, int], float]  # of passes, by how many calls were before
    calls: int = 0
    passes: int = 0
    seen: int = 0

    def score(self, crops: list[Path], *, views: list[str], members: int) -> np.ndarray:
        passes = len(crops) * len(views) * members
        self.time.now_s += self.seconds(passes, self.calls)
        self.calls, self.passes, self.seen = self.calls + 1, self.passes + passes, self.seen + len(crops)
        return np.zeros((len(crops), members, len(views)), np.float32)


def medium(name: str, frames: int, faces: int = 1, *, found: bool = True, num_frames: int | None = None) -> Crops:
    """A medium of so many frames, with so many faces in each. num_frames: asked for, where time was short."""
    rows = frames * faces
    table = pd.DataFrame({column: [0.0] * rows for column in FACES.columns})
    table = table.assign(media_id=name, found=found, path=f"{name}.png", track_id=0, x1=9.0, y1=9.0)
    table["frame_idx"] = np.repeat(range(frames), faces)
    table["face_idx"] = np.tile(range(faces), frames)
    return Crops(FACES.check(table), 0, rows, Path(), num_frames)


@pytest.fixture
def wall() -> Time:
    return Time()


@dataclass
class Run:
    """A scoring of media that are cut or come, by `members` models of which each has two views."""

    folder: Path
    wall: Time
    members: int = 1
    num_views: int = 1
    num_frames: int = 16

    def __call__(self, *arguments: object) -> tuple[Scoring, FakePredictor]:
        done, predictor = self.begin(*arguments)
        done.run()
        return done, predictor

    def begin(
        self,
        arrivals: Arrivals,
        budget_s: float,
        seconds: Callable[[int, int], float] = lambda passes, _: 0.2 * passes,
    ) -> tuple[Scoring, FakePredictor]:
        views = VIEWS[: self.num_views]
        ensemble = Ensemble("run", [Member("run", str(fold), Path()) for fold in range(self.members)], [], views)
        clock = Clock(budget_s, [1] * len(views), self.members)
        pacer = Pacer(clock, budget_s, started_s=self.wall.now_s, batch_size=64, now=self.wall.monotonic)
        predictor, backlog = FakePredictor(self.wall, seconds), Backlog(self.num_frames, STRIDES)
        parts = Parts(self.folder / "parts", [])
        return Scoring("infer", ensemble, lambda: predictor, arrivals, backlog, pacer, parts), predictor


@pytest.fixture
def run(tmp_path: Path, wall: Time) -> Run:
    return Run(tmp_path, wall)


def ready(*media: Crops) -> Arrivals:
    return Arrivals({one.media_id: one for one in media})


def clips(count: int, first: int = 0) -> list[Crops]:
    return [medium(f"clip{number:03d}", 16) for number in range(first, first + count)]


def crops_by_medium(done: Scoring) -> dict[str, int]:
    return pd.concat(done.parts.rows).media_id.value_counts().to_dict() if done.parts.rows else {}


def test_a_crowd_among_clips_does_not_overrun_the_budget(run: Run, wall: Time) -> None:
    """18 clips of 16 crops and one of 640, .2 s each: 186 s, and 57 are there."""
    done, _ = run(ready(*clips(8), medium("crowd", 16, 40), *clips(10, 8)), 60)
    assert wall.now_s <= 57
    counts = crops_by_medium(done)
    assert len(counts) + done.unscored == 19
    assert done.unscored <= 1
    thin = [name for name, crops in counts.items() if crops < (640 if name == "crowd" else 16)]
    assert f"{len(thin)} media scored with less" in done.degraded
    assert f"{done.unscored} not scored in time" in done.degraded


def test_a_crowd_that_comes_first_or_alone_is_tried_before_it_is_begun(run: Run, wall: Time) -> None:
    done, _ = run(ready(medium("crowd", 16, 40)), 60)
    assert wall.now_s <= 57
    assert crops_by_medium(done) == {"crowd": 160}  # every 4th frame: 32 s; every 2nd would be 64
    assert "1 media scored with less" in done.degraded and "every 4th frame" in done.degraded


def test_a_crowd_that_comes_late_finds_the_clock_looked_at_before_it_is_scored(run: Run, wall: Time) -> None:
    arrivals = ready(*clips(8))
    arrivals.uncropped = 1

    def coming() -> Iterator[str | None]:
        while wall.now_s < 20:
            yield None
        arrivals.uncropped -= 1
        arrivals.ready["crowd"] = medium("crowd", 16, 40)
        yield "crowd"

    arrivals.coming = coming()
    done, _ = run(arrivals, 60)
    assert wall.now_s <= 57
    assert crops_by_medium(done)["crowd"] in (80, 160)
    assert done.unscored == 0


def test_a_crowd_behind_pictures_is_not_begun_while_next_to_nothing_is_known(run: Run, wall: Time) -> None:
    run.num_frames = 1
    pictures = [medium(f"picture{number}", 1) for number in range(12)]
    done, _ = run(ready(*pictures, medium("crowd", 1, 400), *(medium(f"then{n}", 1) for n in range(40))), 60)
    assert wall.now_s <= 57
    assert sorted(crops_by_medium(done)) == sorted([f"picture{n}" for n in range(12)] + [f"then{n}" for n in range(40)])
    assert done.unscored == 1


@pytest.mark.parametrize("place", [0, 5, 10])
def test_what_fits_at_no_effort_is_left_and_costs_the_others_nothing(run: Run, wall: Time, place: int) -> None:
    """Ten clips at full effort take 32 s; a crowd of 3200 crops takes 80 s even of every 8th frame."""
    media = clips(10)
    media.insert(place, medium("crowd", 16, 200))
    done, _ = run(ready(*media), 60)
    assert wall.now_s <= 57
    assert crops_by_medium(done) == {f"clip{number:03d}": 16 for number in range(10)}
    assert done.degraded == "0 media scored with less, 1 not scored in time"


def test_what_was_set_aside_gets_the_time_that_others_leave(run: Run, wall: Time) -> None:
    """The crowd takes 40 s of every 8th frame, the 80 clips at least 32: they come first, and by faster models."""
    done, _ = run(
        ready(medium("crowd", 16, 100), *clips(80)), 60, lambda passes, call: (0.2 if call < 3 else 0.01) * passes
    )
    assert wall.now_s <= 57
    assert done.unscored == 0
    assert crops_by_medium(done)["crowd"] == 1600
    assert list(pd.concat(done.parts.rows).media_id)[-1] == "crowd"


def test_without_a_budget_the_largest_medium_is_scored_to_the_full(run: Run) -> None:
    done, predictor = run(ready(*clips(3), medium("crowd", 16, 40)), 0)
    assert crops_by_medium(done)["crowd"] == 640
    assert predictor.seen == 1 + 3 * 16 + 640  # and the first one, which nobody times
    assert done.degraded == "" and done.unscored == 0


def test_more_equal_media_than_there_is_time_for_are_scored_until_it_is_up(run: Run, wall: Time) -> None:
    """300 clips of every 8th frame, two crops each, are 120 s."""
    done, _ = run(ready(*clips(300)), 60)
    assert 54 <= wall.now_s <= 57
    assert 120 <= len(crops_by_medium(done)) == 300 - done.unscored


def test_a_hiccup_in_the_trial_is_no_reason_to_give_anything_up(
    run: Run, wall: Time, caplog: pytest.LogCaptureFixture
) -> None:
    """3200 passes at 80 a second are 40 s of 547; 8 crops took 10 s."""
    run.num_views, run.num_frames = 2, 8
    media = [medium(f"clip{number:03d}", 8) for number in range(200)]
    with caplog.at_level("INFO", logger="deepfake"):
        done, _ = run(ready(*media), 570, lambda passes, call: passes / 80 + 10 * (call == 1))
    assert set(crops_by_medium(done).values()) == {2 * 8}
    assert done.degraded == ""
    assert not [line for line in caplog.messages if "from here on" in line]


def test_a_long_hiccup_of_the_first_step_is_forgotten_and_full_effort_taken_up_again(
    run: Run, wall: Time, caplog: pytest.LogCaptureFixture
) -> None:
    run.num_views, run.num_frames = 2, 8
    media = [medium(f"clip{number:03d}", 8) for number in range(400)]
    with caplog.at_level("INFO", logger="deepfake"):
        done, _ = run(ready(*media), 570, lambda passes, call: passes / 160 + 40 * (call == 2))
    counts = crops_by_medium(done)
    assert len(counts) == 400
    full = [name for name, rows in counts.items() if rows == 2 * 8]
    assert len(full) > 200
    assert done.pacer.clock.effort == done.pacer.clock.full
    said = [line for line in caplog.messages if "from here on" in line]
    assert "from here on 1 of 2 views" in said[0]
    assert all("from here on again " in line for line in said[1:]), said
    assert "again 2 of 2 views, all frames, 1 of 1 models" in said[-1]
    assert f"{400 - len(full)} media scored with less (1 of 2 views, every" in done.degraded


def test_effort_is_taken_up_when_models_become_faster_and_does_not_flutter(
    run: Run, wall: Time, caplog: pytest.LogCaptureFixture
) -> None:
    """Rates that differ by a fifth from step to step; from the 12th on, more than twice as fast."""
    run.num_views = 2

    def seconds(passes: int, call: int) -> float:
        return passes * 0.06 * (0.9 + 0.2 * (call % 2)) * (0.4 if call > 12 else 1.0)

    with caplog.at_level("INFO", logger="deepfake"):
        done, _ = run(ready(*clips(200)), 240, seconds)
    assert wall.now_s <= done.pacer.clock.deadline_s()
    assert done.unscored == 0
    said = [line.split("from here on ")[1] for line in caplog.messages if "from here on" in line]
    assert [line.startswith("again ") for line in said] in ([False, True], [False, True, True])


def test_media_without_a_face_are_done_and_no_model_is_asked_about_them(run: Run, wall: Time) -> None:
    """100 of them, of 16 centre squares each, would be 320 s of 115; the ten clips are 32."""
    faceless = [medium(f"none{number}", 16, found=False) for number in range(100)]
    arrivals = ready(*faceless[:50], *clips(10))
    arrivals.uncropped = 50

    def coming() -> Iterator[str | None]:
        for one in faceless[50:]:
            arrivals.uncropped -= 1
            arrivals.ready[one.media_id] = one
            yield one.media_id

    arrivals.coming = coming()
    done, predictor = run(arrivals, 120)
    assert done.faceless == {f"none{number}" for number in range(100)}
    assert crops_by_medium(done) == {f"clip{number:03d}": 16 for number in range(10)}
    assert predictor.seen == 1 + 8 + 160  # two trials
    assert done.degraded == "" and done.unscored == 0


def test_with_no_face_in_any_medium_no_models_are_loaded(run: Run, wall: Time) -> None:
    done, predictor = run(ready(medium("none", 16, found=False)), 60)
    assert done.predictor is None and predictor.calls == 0
    assert done.degraded == "" and done.unscored == 0


def test_a_medium_cut_in_haste_in_whose_few_frames_no_face_was_is_looked_at_again(run: Run, wall: Time) -> None:
    arrivals = ready(medium("none", 4, found=False, num_frames=4), *clips(1))
    done, _ = run(arrivals, 60)
    assert done.degraded == "1 media scored with less, 0 not scored in time"


def test_media_that_are_yet_to_come_count_as_those_that_came(run: Run, wall: Time) -> None:
    """Four clips with two faces in each of 16 frames came; twelve are yet to come."""
    arrivals = ready(*(medium(f"clip{number}", 16, 2) for number in range(4)))
    arrivals.uncropped = 12
    done, _ = run.begin(arrivals, 600)
    foreseen = []

    def coming() -> Iterator[str | None]:
        yield None  # four are scored, and nothing else is there
        foreseen.append(done.backlog.crops_left(arrivals.uncropped))
        for number in range(4, 16):
            arrivals.uncropped -= 1
            one = medium(f"clip{number}", 16, 2)
            arrivals.ready[one.media_id] = one
            yield one.media_id

    arrivals.coming = coming()
    done.run()
    assert foreseen == [{1: 12 * 32, 2: 12 * 16, 4: 12 * 8, 8: 12 * 4}]
    assert done.degraded == ""
