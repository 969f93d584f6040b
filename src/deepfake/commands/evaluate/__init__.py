"""evaluate: how good a run is on media that it was tested on, and out of fold, by generator, the weakest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake.arguments import load_config
from deepfake.commands import Chain
from deepfake.commands.evaluate.detector import Detector
from deepfake.commands.evaluate.scored import (
    Scored,
    check_crops,
    check_current,
    out_of_fold,
    submitted_crops,
    submitted_media,
    test_media,
)
from deepfake.commands.evaluate.text import (
    BY_CONDITION,
    BY_METHOD,
    BY_PART,
    RANKED,
    Block,
    as_text,
    auc_by_source,
    block,
    flips,
)
from deepfake.config import Config
from deepfake.console import say
from deepfake.errors import UserError
from deepfake.files import replacing
from deepfake.machine import alone
from deepfake.pipeline.damaged import DamagedInference
from deepfake.sections import DataConfig, EvaluateConfig
from deepfake.settings import (
    config_of_run,
    cropper_of,
    dataset_of,
    ensemble_of,
    predictor_of,
    roots_of,
    run_of,
    submission_of,
)
from deepfake.workspace.dataset import Dataset
from deepfake.workspace.submission import Submission

if TYPE_CHECKING:
    import pandas as pd

ABOUT = "how good a run is, by generator, the weakest first; beside it, by its out-of-fold logits"
READS = ("paths", "data", "evaluate", "name", "fold", "infer.batch_size", "num_workers")
ORDER = 65
OWN = ("model",)

WRONG = 5  # media of each class that are shown


@dataclass(frozen=True)
class Subject:
    """What is evaluated, and where it is told."""

    folder: Path
    """The submission's."""
    media: pd.DataFrame
    """All test media, labelled or not, see Scored."""
    sets: list[Scored]
    """The test media first."""
    threshold: float = 0.0
    """The logit from which a medium is called fake."""
    damaged: DamagedInference | None = None
    """Scores damaged crops, where that is asked for."""


def configure(options: Sequence[str], chain: Chain) -> Config | None:
    """By itself it goes by the configuration of the run that it is asked about; a detector has none."""
    if chain.names != ("evaluate",):
        return None
    cfg = load_config(options)
    return cfg if cfg.evaluate.detector else config_of_run(cfg, options)


def run(cfg: Config, chain: Chain) -> pd.DataFrame:
    """Print the tables, and write them beside the submission: evaluation*.csv, .json, .md. Gives back the first.

    UserError where there are no logits of these models for these media, or no test medium has a known label.
    """
    import pandas as pd

    from deepfake.score.evaluation import evaluate

    if cfg.evaluate.detector:
        subject = _of_detector(cfg.evaluate, cfg.data, dataset_of(cfg), cfg.paths.submissions, cfg.name)
    else:
        subject = _of_run(cfg)
    ranked = _rank(subject)
    tables = {one.name: evaluate(one.media, threshold=subject.threshold) for one in subject.sets}
    _write(pd.concat([table.assign(on=name) for name, table in tables.items()]), subject.folder, "")
    blocks = [block(name, table, BY_METHOD) for name, table in tables.items()]
    blocks += _parts(subject) + ranked
    with replacing(subject.folder / "evaluation.md") as page:
        page.write_text(as_text(subject.folder.name, blocks))
    for one in blocks:
        print(one.on_screen())
    say("evaluate", f"→ {subject.folder}/evaluation.csv, .json, .md; evaluation_*.csv, .json")
    if subject.damaged:
        _robustness(subject, subject.damaged)
    return next(iter(tables.values()))


def _of_run(cfg: Config) -> Subject:
    run_of(cfg).cropping_run().check_trained()
    dataset, ensemble = dataset_of(cfg), ensemble_of(cfg)
    submission = submission_of(cfg, dataset, ensemble)
    made, damaged = check_current(submission, dataset, ensemble), None
    if cfg.evaluate.robustness:
        check_crops(made, submission, dataset)
        damaged = DamagedInference(
            dataset,
            ensemble,
            cropper_of(cfg),
            cache(lambda: predictor_of(cfg, ensemble)),  # loaded once for all conditions
            cfg.infer.batch_size,
            submission.folder / "robustness",
        )
    media = submitted_media(dataset, submission)
    oof = out_of_fold(run_of(cfg), Dataset.at(roots_of(cfg), ensemble.dataset), ensemble)
    tested = Scored.of(f"test media of {dataset.name}", media, submitted_crops(submission, ensemble))
    threshold = ensemble.threshold or 0.0
    return Subject(submission.folder, media, [tested, *filter(None, [oof])], threshold, damaged)


def _of_detector(settings: EvaluateConfig, data: DataConfig, dataset: Dataset, submissions: Path, name: str) -> Subject:
    """name: of the folder below submissions, before the data set's; "" = the detector's own.

    UserError where the detector or the media table is not there, or damaged crops are asked for, which it has not.
    """
    if settings.robustness:
        raise UserError("evaluate.robustness scores damaged crops of a run: leave it out with model=FILE.py")
    detector = Detector(Path(settings.detector))
    predict = detector.load()
    if not dataset.media_path.is_file():
        raise UserError(f"{dataset.media_path} is not there: first python -m deepfake index with the same data")
    folder = submissions / f"{name or detector.name}_{dataset.name}"
    raw = dataset.raw_folder(is_named_alone=not (data.root or data.listing))
    with alone(folder / ".evaluate.lock", f"another process evaluates into {folder}: wait for it, or stop it"):
        logits = detector.scores(predict, dataset, raw, folder)
    media = test_media(dataset, logits, logits.notna())
    return Subject(folder, media, [Scored.of(f"test media of {dataset.name}, by {detector.file.name}", media)])


def _rank(subject: Subject) -> list[Block]:
    """The media's order by logit, to evaluation_ranking; and the most wrong of each class. UserError where no label is
    known."""
    from deepfake.score.evaluation import most_wrong, ranking

    order = ranking(subject.media)
    _write(order, subject.folder, "_ranking")
    if subject.sets[0].media.empty:
        raise UserError(
            f"no {subject.sets[0].name.replace('media', 'medium', 1)} has a known label: there is nothing to compare "
            f"with; their order from fake to real is in {subject.folder}/evaluation_ranking.csv"
        )
    titles = ("Reals that look most fake", "Fakes that look most real")
    tables = zip(titles, most_wrong(order, WRONG), strict=True)
    return [block(title, table, RANKED) for title, table in tables if len(table)]


def _parts(subject: Subject) -> list[Block]:
    """By face, by frame, by source of the reals: to evaluation_parts, and those that say something."""
    import pandas as pd

    from deepfake.score.evaluation import by_face, by_frame, by_real_source

    shown, written = [], []
    found: dict[str, list[pd.DataFrame]] = {"face": [], "frame": [], "real source": []}
    for one in subject.sets:
        faces, sources = (way(one.media, threshold=subject.threshold) for way in (by_face, by_real_source))
        found["face"].append(faces.assign(on=one.name))
        if one.crops is not None:
            frames = by_frame(one.media, one.crops, threshold=subject.threshold)
            found["frame"].append(frames.assign(on=one.name))
        found["real source"].append(sources.assign(on=one.name))
    for by, tables in found.items():
        table = pd.concat([one for one in tables if len(one)]) if any(map(len, tables)) else pd.DataFrame()
        written.append(table.assign(by=by))
        if len(table) and by != "real source":
            shown.append(block(f"By {by}", table, BY_PART))
    shown += [auc_by_source(table.on.iloc[0], table) for table in found["real source"] if len(table)]
    if any(map(len, written)):
        _write(pd.concat([one for one in written if len(one)]), subject.folder, "_parts")
    else:  # what stands there is of an earlier call
        for old in subject.folder.glob("evaluation_parts.*"):
            old.unlink()
    return shown


def _robustness(subject: Subject, damaged: DamagedInference) -> None:
    """Score damaged crops, print the table, and write it to evaluation_robustness."""
    from deepfake.forgery.conditions import CONDITIONS
    from deepfake.score.evaluation import under_damage

    logits = {}
    lock = Submission(subject.folder).lock
    with alone(lock, f"another process infers into {subject.folder}: wait for it, or stop it"):
        for number, condition in enumerate(CONDITIONS, start=1):
            state = "up to date" if damaged.is_done(condition) else "scoring"
            say("evaluate", f"{condition}, {number} of {len(CONDITIONS)}: {state}")
            logits[condition] = damaged.scores(condition).set_index("media_id").logit
    table = under_damage(subject.sets[0].media, logits, threshold=subject.threshold)
    shown = block(f"Under damage, {subject.sets[0].name}", table, BY_CONDITION)
    _write(table, subject.folder, "_robustness")
    with replacing(subject.folder / "evaluation_robustness.md") as page:
        page.write_text(as_text(subject.folder.name, [shown]))
    print(shown.on_screen())
    say("evaluate", f"{flips(table)} → {subject.folder}/evaluation_robustness.md, .csv, .json")


def _write(table: pd.DataFrame, folder: Path, ending: str) -> None:
    """As CSV and JSON, whole or not at all."""
    table = table.reset_index(drop=True)
    for suffix, content in (("csv", table.to_csv(index=False)), ("json", table.to_json(orient="records", indent=1))):
        with replacing(folder / f"evaluation{ending}.{suffix}") as path:
            path.write_text(content)
