"""judge: files that somebody names → a table: how probably each is fake, and why."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from deepfake import layout
from deepfake.config import Config
from deepfake.errors import UserError
from deepfake.files import write_json
from deepfake.stages.common import listed, progress, run_to_continue, say
from deepfake.stages.cutting import cut_setup, scoring_pace
from deepfake.stages.logits import load_panel, logit_rows
from deepfake.stages.pictures import draw_pictures, picture_names
from deepfake.stages.plan import Plan, read_plan
from deepfake.stages.submit import decision_logit
from deepfake.stages.verdict import Verdict, as_json, as_table, chance, count_verdicts
from deepfake.tables import FACE_KEY, FACES

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.learn.panel import Panel
    from deepfake.media.cut import Cut
    from deepfake.media.workers import Failure, Job
    from deepfake.sources.named import Named

Outcome = tuple[str, "Cut | Failure"]  # a file, and what cutting it gave


def run(cfg: Config) -> None:
    """Print a table of the files in input=; write json= and pictures= where they are asked for, and nothing else.

    Crops lie in a temporary folder, which is removed however it ends.
    """
    from deepfake.sources.named import find_named

    run_to_continue(cfg)  # refuses a run without trained folds
    check(cfg)
    named = find_named(cfg.input)
    _check_outputs(cfg, named)
    plan = read_plan(cfg)
    threshold = decision_logit(cfg, plan.threshold)
    verdicts = _judge(cfg, plan, threshold, named.media)
    print(as_table(plan, threshold, verdicts))
    if cfg.json:
        write_json(as_json(cfg.run, plan, threshold, verdicts, named.others), Path(cfg.json))
    if cfg.pictures:
        draw_pictures(cfg, verdicts, chance(threshold))
    say("judge", f"{count_verdicts(verdicts)}; by {listed(f'{one.run} fold {one.fold}' for one in plan.members)}")
    if named.others:
        say("judge", f"no media, left out ({len(named.others)}): {listed(named.others)}")


def check(cfg: Config) -> None:
    """UserError where no file is named."""
    if not cfg.input:
        raise UserError("judge needs files: ./run_infer.sh clip.mp4, a folder, or a pattern in quotes")


def _check_outputs(cfg: Config, named: Named) -> None:
    """UserError for outputs that could not be written, or would replace what is judged."""
    if cfg.pictures and find_spec("matplotlib") is None:  # else that would be said when all is judged
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
    if cfg.json and Path(cfg.json).is_dir():
        raise UserError(f"json={cfg.json} is a folder: name a file")
    if cfg.pictures and Path(cfg.pictures).exists() and not Path(cfg.pictures).is_dir():
        raise UserError(f"pictures={cfg.pictures} is a file: name a folder")
    written = [Path(cfg.json)] if cfg.json else []
    written += [Path(cfg.pictures) / name for name in picture_names(named.media).values()] if cfg.pictures else []
    lost = {path.resolve() for path in written} & {Path(path).resolve() for path in named.media}
    if lost:
        raise UserError(f"{listed(sorted(lost))} would be replaced: choose another json= or pictures=")
    for path in written:  # what cannot be is better known before the work
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{path.parent} cannot be made ({error.strerror}): choose another folder") from error
        if not os.access(path.parent, os.W_OK):
            raise UserError(f"{path.parent} cannot be written to: choose another folder for json= or pictures=")


def _judge(cfg: Config, plan: Plan, threshold: float, paths: tuple[str, ...]) -> list[Verdict]:
    """The verdict on each file, in their order. threshold: the logit from which a file is called fake."""
    from deepfake.media.workers import Job, cut_all
    from deepfake.sources.tree import kind_of

    jobs = [Job(f"{number:06d}", Path(path), kind_of(path)) for number, path in enumerate(paths)]
    verdicts: dict[str, Verdict] = {}
    with TemporaryDirectory(prefix="deepfake_") as folder, progress(len(jobs), "judge", "files") as bar:
        cfg = replace(cfg, paths=replace(cfg.paths, data=Path(folder)))
        bench = _Bench(cfg, plan, threshold)
        with closing(cut_all(jobs, cut_setup(cfg), scoring_pace(cfg))) as outcomes:
            for batch in _batches(outcomes, cfg.infer.batch_size):
                verdicts |= bench.judge(batch)
                bar.update(len(batch))
    return [verdicts[path] for path in paths]


def _batches(outcomes: Iterable[tuple[Job, Cut | Failure] | None], most_crops: int) -> Iterator[list[Outcome]]:
    """Outcomes as they come, together as long as their crops are too few for a batch of the models'."""
    from deepfake.media.cut import Cut

    batch, crops = [], 0
    for given in outcomes:
        if given is not None:
            job, outcome = given
            batch.append((str(job.path), outcome))
            crops += len(outcome.rows) if isinstance(outcome, Cut) else 0
        if crops >= most_crops:
            yield batch
            batch, crops = [], 0
    if batch:
        yield batch


class _Bench:
    """The models, loaded when the first file is cut, and what they say. cfg: crops lie below paths.data."""

    def __init__(self, cfg: Config, plan: Plan, threshold: float) -> None:
        self.cfg, self.plan, self.threshold = cfg, plan, threshold
        self.panel: Panel | None = None

    def judge(self, batch: list[Outcome]) -> dict[str, Verdict]:
        """Verdicts by path; the crops are removed."""
        from deepfake.media.cut import Cut

        cuts = {path: outcome for path, outcome in batch if isinstance(outcome, Cut)}
        failures = {path: outcome for path, outcome in batch if path not in cuts}
        verdicts = {path: Verdict.unreadable(path, failure) for path, failure in failures.items()}
        if cuts:
            faces = _faces(cuts)
            crops, media = self._opinions(faces[faces.found])
            faces = faces.merge(crops, on=list(FACE_KEY), how="left")
            for path, rows in faces.groupby("media_id"):
                verdicts[path] = self._verdict(path, rows, cuts[path], media)
        return verdicts

    def _opinions(self, faces: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """What is said of crops, and of media, as crop_opinions and media_opinions give it."""
        from deepfake.score.opinion import crop_opinions, media_opinions
        from deepfake.tables import LOGITS

        if faces.empty:
            rows = LOGITS.empty()
            return rows[[*FACE_KEY, "logit"]], rows[["logit"]]
        self.panel = self.panel or load_panel(self.cfg, self.plan)
        folder = layout.dataset_folder(self.cfg.paths.data, self.cfg.dataset)
        paths, plan = [folder / path for path in faces.path], self.plan
        rows = logit_rows(self.panel, plan, faces, paths, views=plan.views, members=len(plan.members))
        for crops in {path.parent for path in paths}:  # so that a thousand files need no more room than a few
            shutil.rmtree(crops)
        return crop_opinions(rows, plan.blends), media_opinions(rows, plan.blends)

    def _verdict(self, path: str, faces: pd.DataFrame, cut: Cut, media: pd.DataFrame) -> Verdict:
        if path not in media.index:
            return Verdict.faceless(path, faces, cut.facts, self.plan.fallbacks["no_face"])
        said = media.loc[path]
        return Verdict.seen(path, faces, cut.facts, (said.logit, said.lowest, said.highest), self.threshold)


def _faces(cuts: dict[str, Cut]) -> pd.DataFrame:
    """Rows of the faces table of all cuts, whose media are called by their paths."""
    import pandas as pd

    rows = [row | {"media_id": path} for path, cut in cuts.items() for row in cut.rows]
    return FACES.check(pd.DataFrame(rows, columns=list(FACES.columns)).sort_values(list(FACE_KEY)))
