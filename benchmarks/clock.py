"""Which rules of an inference's clock pay: inferences simulated on a virtual clock, each with one rule changed.

    python benchmarks/clock.py

No model runs. A world says which media there are and how long passes and cropping take. An inference without a budget
tells its need; then it is run with 1.3, 1/2, 1/3 and 1/10 of that as its budget. The loop here follows that of `infer`
and uses the public methods of deepfake.pipeline.effort. It takes a minute and writes benchmarks/results/clock.md.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from machine import RESULTS, table

from deepfake.pipeline import effort as clock_module
from deepfake.pipeline.effort import STRIDES, Clock

BATCH = 32
STEP_S = 10.0
TICK_S = 0.5
TAIL_S = 2.0  # what comes after the last medium: the files of a submission are written
BUDGETS = {"1.3": 1.3, "1/2": 0.5, "1/3": 1 / 3, "1/10": 0.1}  # of the need
POINT = 0.01


@dataclass(frozen=True)
class Medium:
    """A clip, or a picture: a clip of one frame."""

    frames: int
    faces: int = 1
    """In each frame."""
    stride: int = 1
    """Every stride-th frame was cropped."""

    @functools.cache  # noqa: B019
    def crops(self, num_frames: int) -> dict[int, int]:
        """How many crops are used at each stride of the clock."""
        there = -(-self.frames // self.stride)
        steps = {stride: max(1, -(-there // -(-num_frames // stride))) for stride in STRIDES}
        return {stride: len(range((there - 1) % step // 2, there, step)) * self.faces for stride, step in steps.items()}


@dataclass(frozen=True)
class World:
    """Media and models, and how long everything takes in truth."""

    name: str
    media: tuple[Medium, ...]
    members: int = 5
    view_passes: tuple[int, ...] = (1, 1)
    num_frames: int = 16
    pass_s: float = 0.05
    speed: Callable[[float, int], float] = lambda share, call: 1.0
    """Factor on pass_s, from the share of the need that has gone by and the number of the call."""
    hiccups: dict[int, float] = field(default_factory=dict)
    """Call → seconds that it takes longer. Call 0 is the untimed first one, call 1 the trial."""
    call_s: float = 0.05
    read_s: float = 0.0
    """Seconds a crop, whatever the number of passes."""
    load_s: float = 5.0
    crop_s: float = 0.0
    """Seconds that one process takes to crop a clip with all frames; a picture takes a tenth. 0 = all is cropped."""
    fixed: float = 0.4
    """Share of crop_s that fewer frames do not save."""
    workers: int = 4
    start_s: float = 5.0
    """Seconds until the processes are ready."""


@dataclass(frozen=True)
class Rules:
    """What the loop and the clock do. The defaults are those of `infer`."""

    trial: bool = True
    """Whether the first crops are tried by one model before the first step."""
    trial_counts: bool = False
    """Whether the clock is told of the trial also where the first step fits."""
    first_crops: int = 8
    early_share: float = 0.0
    """Share of the budget before which nothing is decided, while no batch is scored."""
    telling_s: float = 0.0
    """Shorter steps, of less than a batch, are told to the clock together with the next ones."""
    foresight: bool = False
    """Whether media that were cropped with fewer frames stand for more crops of media to come."""
    aside: bool = True
    """Whether large media come last where not even the least effort for all fits."""
    aside_returns: bool = False
    """Whether media that were set aside are looked at again before each step, or when nothing else is left."""
    large_share: float = 0.25
    smallest_first: bool = False
    step_share: float = 0.03
    constants: dict[str, float] = field(default_factory=dict)
    """Other values for constants of deepfake.pipeline.effort."""


class Feed:
    """Cropping in processes. Each has up to two media ahead; they are handed out only while the loop waits."""

    def __init__(self, world: World) -> None:
        self.world, self.todo = world, deque(world.media if world.crop_s else ())
        self.free = [world.start_s] * world.workers
        self.running: list[tuple[float, Medium]] = []

    @property
    def uncut(self) -> int:
        return len(self.todo) + len(self.running)

    def next(self, now_s: float, stride: int) -> tuple[float, Medium | None]:
        """(time, medium) of the next medium; (time, None) where none comes within TICK_S."""
        world = self.world
        while self.todo and len(self.running) < 2 * world.workers:
            medium = replace(one := self.todo.popleft(), stride=stride if one.frames > 1 else 1)
            seconds = world.crop_s * (world.fixed + (1 - world.fixed) / stride if medium.frames > 1 else 0.1)
            worker = self.free.index(min(self.free))
            self.free[worker] = max(self.free[worker], now_s) + seconds
            self.running.append((self.free[worker], medium))
        done_s, medium = min(self.running, key=lambda item: item[0])
        if done_s > now_s + TICK_S:
            return now_s + TICK_S, None
        self.running.remove((done_s, medium))
        return max(now_s, done_s), medium


@dataclass(frozen=True)
class Result:
    """What came of an inference."""

    over_s: float
    """By how much the budget was overrun, TAIL_S included."""
    late: int
    """Media without any score."""
    work: float
    """Share of the passes of full effort that were made."""
    each: float
    """The same share of each medium, averaged over media."""
    changes: int
    """How often the effort changed."""


class Loop:
    """An inference on a virtual clock."""

    def __init__(self, world: World, budget_s: float, rules: Rules, need_s: float = float("inf")) -> None:
        self.world, self.budget_s, self.rules, self.need_s = world, budget_s, rules, need_s
        self.clock = Clock(budget_s, world.view_passes, world.members)
        self.full_passes = self.clock.passes(self.clock.full)
        self.now_s, self.calls, self.loaded, self.changes = 0.0, 0, False, 0
        self.feed = Feed(world)
        self.waiting: deque[Medium] = deque()
        self.aside: list[Medium] = []
        self.cropped = dict.fromkeys(STRIDES, 0.0)
        self.crops_waiting = dict.fromkeys(STRIDES, 0)
        self.crops_aside = dict.fromkeys(STRIDES, 0)
        self.num_cropped, self.work, self.shares = 0, 0, []
        self.measured, self.untold = (0, 0.0), (0, 0.0)

    def run(self) -> Result:
        for medium in () if self.world.crop_s else self.world.media:
            self.arrive(medium)
        while (self.waiting or self.aside or self.feed.uncut) and self.left_s() > 0:
            self.receive()
            if self.waiting and not self.loaded:
                self.load()
            self.set_aside()
            if self.waiting and self.left_s() > 0:
                self.step()
            elif not self.feed.uncut:
                break
        late = len(self.world.media) - len(self.shares)
        over_s = max(0.0, self.now_s + TAIL_S - self.budget_s) if self.budget_s else 0.0
        full = self.full_passes * sum(self.crops(one)[1] for one in self.world.media)
        return Result(over_s, late, self.work / full, sum(self.shares) / len(self.world.media), self.changes)

    def arrive(self, medium: Medium) -> None:
        self.waiting.append(medium)
        crops = self.crops(medium)
        for stride in STRIDES:
            self.crops_waiting[stride] += crops[stride]
            is_thin = self.rules.foresight and medium.frames > 1
            self.cropped[stride] += crops[stride] * (max(1.0, medium.stride / stride) if is_thin else 1.0)
        self.num_cropped += 1

    def move(self, medium: Medium, *, aside: int = 0) -> None:
        """Count a medium's crops no longer as waiting: as done (aside=0) or set aside (1); or again as waiting (-1)."""
        for stride, crops in self.crops(medium).items():
            self.crops_waiting[stride] -= crops if aside >= 0 else -crops
            self.crops_aside[stride] += aside * crops

    def crops(self, medium: Medium) -> dict[int, int]:
        return medium.crops(self.world.num_frames)

    def left_s(self) -> float:
        return self.clock.deadline_s() - self.now_s

    def call(self, crops: int, passes: int) -> float:
        """Score so many crops; the seconds that it takes."""
        world = self.world
        speed = world.speed(self.now_s / self.need_s, self.calls)
        seconds = world.call_s + crops * world.read_s + passes * world.pass_s * speed + world.hiccups.get(self.calls, 0)
        self.now_s, self.calls = self.now_s + seconds, self.calls + 1
        return seconds

    def load(self) -> None:
        self.now_s, self.loaded = self.now_s + self.world.load_s, True
        self.call(1, self.world.members)
        if not (self.budget_s and self.rules.trial):
            return
        first = self.crops(self.waiting[0])[1]
        tried = min(self.rules.first_crops, first)
        passes = tried * self.world.view_passes[0]
        seconds = self.call(tried, passes)
        step_s = seconds / passes * self.full_passes * max(first, self.rules.first_crops)
        if self.rules.trial_counts or step_s > self.rules.large_share * self.left_s():
            self.clock.tried(passes, seconds)
            self.measured = tried, seconds

    def step_crops(self) -> int:
        if not self.clock.known:
            return min(self.rules.first_crops, BATCH)
        return self.clock.crops_in(min(STEP_S, self.budget_s * self.rules.step_share or STEP_S))

    def receive(self) -> None:
        wanted, began, received = self.step_crops(), self.now_s, 0
        while self.feed.uncut and self.crops_waiting[1] < wanted and self.left_s() > 0:
            self.now_s, medium = self.feed.next(self.now_s, self.clock.effort.stride)
            if medium is None:
                if self.waiting:
                    break
                continue
            received += 1
            self.arrive(medium)
        if received and self.loaded:
            self.clock.waited(received, self.now_s - began)

    def crops_left(self) -> dict[int, float]:
        known = self.num_cropped - len(self.aside)
        guess = {stride: -(-self.world.num_frames // stride) for stride in STRIDES}
        each = (
            {stride: (self.cropped[stride] - self.crops_aside[stride]) / known for stride in STRIDES}
            if known
            else guess
        )
        return {stride: self.crops_waiting[stride] + self.feed.uncut * each[stride] for stride in STRIDES}

    def least_fits(self) -> bool:
        return self.clock.fits(self.left_s(), self.crops_left(), self.feed.uncut, self.clock.least)

    def set_aside(self) -> None:
        if self.rules.aside_returns or not (self.waiting or self.feed.uncut):
            for one in self.aside:
                self.move(one, aside=-1)
            self.waiting.extend(self.aside)
            self.aside = []
        if not (self.budget_s and self.clock.known):
            return
        if self.rules.smallest_first:
            self.waiting = deque(sorted(self.waiting, key=lambda one: self.crops(one)[1]))
        if not self.rules.aside or self.least_fits():
            return
        least, most_s = self.clock.least, self.rules.large_share * max(self.left_s(), 0)
        large = [one for one in self.waiting if self.clock.forecast_s(self.crops(one), 0, least) > most_s]
        for one in sorted(large, key=lambda one: self.crops(one)[least.stride], reverse=True):
            if self.least_fits():
                break
            self.aside.append(one)
            self.waiting.remove(one)
            self.move(one, aside=1)

    def is_early(self) -> bool:
        crops, seconds = self.measured
        if self.waiting:
            seconds += self.clock.forecast_s(self.crops(self.waiting[0]), 0, self.clock.effort)
        return crops < BATCH and seconds < self.rules.early_share * self.budget_s

    def look(self) -> None:
        crops = self.crops_left()
        is_known = self.budget_s and self.clock.known and not self.is_early()
        if is_known and any(crops.values()) and self.clock.decide(self.now_s, crops, self.feed.uncut):
            self.changes += 1
            self.untold = (0, 0.0)

    def step(self) -> None:
        self.look()
        effort, taken, crops = self.clock.effort, [], 0
        wanted, most = self.step_crops(), float("inf")
        if self.budget_s:
            is_sure = self.clock.known and not self.is_early()
            most = self.clock.crops_in(self.left_s()) if is_sure else self.rules.first_crops
        while self.waiting and crops < wanted:
            size = self.crops(self.waiting[0])[effort.stride]
            if taken and crops + size > most:
                break
            taken.append(self.waiting.popleft())
            self.move(taken[-1])
            crops += size
        seconds = self.call(crops, crops * self.clock.passes(effort))
        for one in taken:
            full = replace(one, stride=1)
            passes = self.crops(one)[effort.stride] * self.clock.passes(effort)
            self.work += passes
            self.shares.append(passes / self.crops(full)[1] / self.full_passes)
        self.tell(crops, seconds)
        self.look()

    def tell(self, crops: int, seconds: float) -> None:
        self.measured = self.measured[0] + crops, self.measured[1] + seconds
        crops, seconds = crops + self.untold[0], seconds + self.untold[1]
        self.untold = crops, seconds
        if crops >= BATCH or seconds >= self.rules.telling_s or not self.clock.known:
            self.clock.scored(crops, seconds)
            self.untold = (0, 0.0)


# --- worlds

CLIP, PICTURE = Medium(16), Medium(1)


def shuffled(*media: Medium, seed: int = 0) -> tuple[Medium, ...]:
    return tuple(media[number] for number in np.random.default_rng(seed).permutation(len(media)))


def worlds() -> Iterator[World]:
    rng = np.random.default_rng(0)
    clips, pictures = (CLIP,) * 300, (PICTURE,) * 3000
    varied = tuple(Medium(16, int(faces)) for faces in np.ceil(rng.lognormal(0, 1, 200)))
    crowd = Medium(16, 150)
    rare = {int(call): 15.0 for call in rng.integers(5, 300, 25)}
    yield World("clips", clips)
    yield World("clips, one model, one view", clips, members=1, view_passes=(1,), pass_s=0.5)
    yield World("clips, five-crop view", clips, view_passes=(1, 1, 5), members=3)
    yield World("pictures", pictures)
    yield World("pictures, one model, one view", pictures, members=1, view_passes=(1,), pass_s=0.5)
    yield World("clips and pictures", shuffled(*clips, *pictures))
    yield World("clips, then pictures", clips + pictures)
    yield World("pictures, then clips", pictures + clips)
    yield World("varied faces", varied)
    yield World("varied faces, largest last", tuple(sorted(varied, key=lambda one: one.faces)))
    yield World("varied faces, largest first", tuple(sorted(varied, key=lambda one: -one.faces)))
    yield World("a crowd first", (crowd, *clips[:150]))
    yield World("a crowd last", (*clips[:150], crowd))
    yield World("a crowd of pictures first", (Medium(1, 400), *pictures[:500]), num_frames=1)
    yield World("a crowd behind pictures", (*pictures[:12], Medium(1, 400), *pictures[:500]), num_frames=1)
    yield World("six crowds among clips", shuffled(*(Medium(16, 60),) * 6, *clips[:150]))
    yield World("three crowds alone", (crowd,) * 3)
    alone = {"members": 1, "view_passes": (1,)}
    host = Medium(16, 400)
    yield World("one model, a host first", (host, *clips[:100]), pass_s=0.2, **alone)
    yield World("one model, a host in the middle", (*clips[:50], host, *clips[:50]), pass_s=0.2, **alone)
    yield World("one model, three hosts", (host, *clips[:50], host, *clips[:50], host), pass_s=0.2, **alone)
    yield World("one model, a host first, slow trial", (host, *clips[:100]), pass_s=0.2, hiccups={1: 40.0}, **alone)
    yield World("crowds among clips, slow trial", shuffled(*(Medium(16, 60),) * 6, *clips[:150]), hiccups={1: 90.0})
    yield World("few clips, one model", (CLIP,) * 12, members=1, pass_s=0.3)
    yield World("slow trial or first step", clips, hiccups={1: 40.0})
    yield World("slow second step", clips, hiccups={2: 40.0})
    yield World("hiccups", clips, hiccups=rare)
    yield World("faster from a tenth of the need on", clips, speed=lambda share, _: 1.0 if share < 0.1 else 0.4)
    yield World("faster from 3 % of the need on", clips, speed=lambda share, _: 1.0 if share < 0.03 else 0.3)
    yield World("slower from a tenth of the need on", clips, speed=lambda share, _: 1.0 if share < 0.1 else 2.5)
    yield World("slower from 3 % of the need on", clips, speed=lambda share, _: 1.0 if share < 0.03 else 2.5)
    yield World("slower little by little", clips, speed=lambda share, _: 1 + 2 * share)
    for spread in (0.2, 0.5):
        noise = rng.uniform(1 - spread, 1 + spread, 100_000)
        yield World(f"noise of {spread:.0%}", clips, speed=lambda _, call, noise=noise: float(noise[call]))
    yield World("half the time goes into reading crops", clips, pass_s=0.01, read_s=0.1)
    yield World("calls that are dear", clips, call_s=2.0, pass_s=0.02)
    yield World("fast models", (CLIP,) * 1500, pass_s=0.001, members=2)
    yield from cropping_worlds(clips, pictures, crowd)


def cropping_worlds(clips: tuple[Medium, ...], pictures: tuple[Medium, ...], crowd: Medium) -> Iterator[World]:
    yield World("cropping takes all", clips, crop_s=10.0, pass_s=0.001)
    yield World("cropping takes most", clips, crop_s=10.0, pass_s=0.005)
    yield World("cropping takes half", clips, crop_s=10.0, pass_s=0.015)
    yield World("cropping takes a tenth", clips, crop_s=3.0)
    yield World("cropping, half, little of it fixed", clips, crop_s=10.0, pass_s=0.015, fixed=0.1)
    yield World("cropping, half, most of it fixed", clips, crop_s=10.0, pass_s=0.015, fixed=0.8)
    yield World("cropping, all, little of it fixed", clips, crop_s=10.0, pass_s=0.001, fixed=0.1)
    yield World("cropping, all, most of it fixed", clips, crop_s=10.0, pass_s=0.001, fixed=0.8)
    yield World("cropping, processes start slowly", clips, crop_s=5.0, start_s=25.0)
    yield World("cropping clips and pictures", shuffled(*clips, *pictures[:600]), crop_s=5.0, pass_s=0.02)
    yield World("cropping clips, then pictures", (*clips, *pictures[:600]), crop_s=5.0, pass_s=0.02)
    yield World("cropping pictures, then clips", (*pictures[:600], *clips), crop_s=5.0, pass_s=0.02)
    yield World("cropping, a crowd first", (crowd, *clips), crop_s=5.0, pass_s=0.02)
    yield World("cropping, a crowd in the middle", (*clips[:150], crowd, *clips[150:]), crop_s=5.0, pass_s=0.02)
    alone = {"members": 1, "view_passes": (1,)}
    host = Medium(16, 400)
    yield World("cropping, one model, a host first", (host, *clips), pass_s=0.1, crop_s=3.0, **alone)
    yield World(
        "cropping, one model, two hosts",
        (*clips[:99], host, *clips[:99], host, *clips[:99]),
        pass_s=0.1,
        crop_s=3.0,
        **alone,
    )
    yield World("cropping, a crowd last", (*clips, crowd), crop_s=5.0, pass_s=0.02)


# --- variants

VARIANTS = {
    "as it is": Rules(),
    "before it was trimmed": Rules(
        early_share=0.05, telling_s=1.0, foresight=True, aside_returns=True, constants={"RISE": 1.5}
    ),
    "EARLY_SHARE = .05: nothing decided before, without a batch": Rules(early_share=0.05),
    "short steps are told together": Rules(telling_s=1.0),
    "foresight from media with fewer frames": Rules(foresight=True),
    "what is set aside is looked at before each step": Rules(aside_returns=True),
    "RISE = MARGIN: effort rises as soon as it fits": Rules(constants={"RISE": 1.1}),
    "RISE = 1.5": Rules(constants={"RISE": 1.5}),
    "effort never rises": Rules(constants={"RISE": float("inf")}),
    "KEEP = 1: no measurement is forgotten": Rules(constants={"KEEP": 1.0}),
    "MARGIN = 1": Rules(constants={"MARGIN": 1.0}),
    "FIXED_CUT = 0": Rules(constants={"FIXED_CUT": 0.0}),
    "FIXED_CUT = 1": Rules(constants={"FIXED_CUT": 1.0}),
    "RESERVE_S = 0": Rules(constants={"RESERVE_S": 0.0}),
    "RESERVE_SHARE = 0": Rules(constants={"RESERVE_SHARE": 0.0}),
    "no trial": Rules(trial=False),
    "the trial always counts": Rules(trial_counts=True),
    "FIRST_CROPS = 4": Rules(first_crops=4),
    "nothing set aside": Rules(aside=False),
    "nothing set aside, smallest first": Rules(aside=False, smallest_first=True),
    "LARGE_SHARE = 0.5": Rules(large_share=0.5),
    "LARGE_SHARE = 1": Rules(large_share=1.0),
    "STEP_SHARE = inf": Rules(step_share=float("inf")),
}
HEAD = (
    *("rules", "late", "over, s", "work, %", "each, %", "worst work, points", "where", "worst each, points", "where"),
    *("worse", "better", "changes", "most"),
)
NOTES = """# Which rules of the clock pay

Over {worlds} worlds, each with budgets of 1.3, 1/2, 1/3 and 1/10 of its need, by `benchmarks/clock.py`.

late: media without any score, summed. over: by how much a budget was overrun at the worst, 2 s for the files included.
work: share of the passes of full effort that were made. each: the same share a medium, averaged over media. worst: the
largest loss of either in one run against what is. worse: runs with more late media, or over a point less of work and
of each. better: the opposite. changes: how often the effort changed, summed, and the most in one run.

"""


@contextmanager
def constants(values: dict[str, float]) -> Iterator[None]:
    """The clock with other constants."""
    before = {name: getattr(clock_module, name) for name in values}
    try:
        for name, value in values.items():
            setattr(clock_module, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(clock_module, name, value)


Results = dict[tuple[str, str], Result]


def simulate(rules: Rules, places: list[World], needs: dict[str, float]) -> Results:
    """(world, budget) → what came of it."""
    with constants(rules.constants):
        return {
            (world.name, budget): Loop(world, share * needs[world.name], rules, needs[world.name]).run()
            for world in places
            for budget, share in BUDGETS.items()
        }


def row(name: str, found: Results, base: Results) -> list[str]:
    work = {key: result.work - base[key].work for key, result in found.items()}
    each = {key: result.each - base[key].each for key, result in found.items()}
    late = {key: result.late - base[key].late for key, result in found.items()}
    worse = sum(late[key] > 0 or max(work[key], each[key]) < -POINT for key in found)
    better = sum(late[key] < 0 or min(work[key], each[key]) > POINT for key in found)
    worst = []
    for changes in (work, each):
        key = min(changes, key=changes.__getitem__)
        worst += [f"{100 * changes[key]:.1f}", ", ".join(key) if changes[key] < 0 else ""]
    all_changes = [result.changes for result in found.values()]
    return [
        *(name, str(sum(result.late for result in found.values()))),
        f"{max(result.over_s for result in found.values()):.1f}",
        f"{100 * np.mean([result.work for result in found.values()]):.1f}",
        f"{100 * np.mean([result.each for result in found.values()]):.1f}",
        *(*worst, str(worse), str(better), str(sum(all_changes)), str(max(all_changes))),
    ]


def main() -> None:
    places, needs = list(worlds()), {}
    for world in places:
        loop = Loop(world, 0, Rules())
        loop.run()
        needs[world.name] = loop.now_s
    base = simulate(Rules(), places, needs)
    rows = [row(name, simulate(rules, places, needs), base) for name, rules in VARIANTS.items()]
    text = NOTES.format(worlds=len(places)) + table(HEAD, rows)
    (RESULTS / "clock.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
