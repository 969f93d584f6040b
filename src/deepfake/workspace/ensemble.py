"""An ensemble: the models that speak for media, and how their logits become one. A run alone is the simplest one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake.console import say
from deepfake.errors import UserError
from deepfake.files import digest, typed
from deepfake.tables import FALLBACKS, LOGITS, OOF
from deepfake.workspace.alone import run_alone, score_alone, tell_calibration
from deepfake.workspace.dataset import Dataset
from deepfake.workspace.run import FULL, Fold, Run, damaged_blend, read_blend, split_of
from deepfake.workspace.tta import kept_views

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from deepfake.learn.predictor import Predictor
    from deepfake.score.blending import Blend
    from deepfake.workspace.roots import Roots


@dataclass(frozen=True)
class Member:
    """One model: a fold of a run."""

    run: str
    fold: str
    weights: Path

    def __str__(self) -> str:
        return f"{self.run} fold {self.fold}"


@dataclass(frozen=True)
class Ensemble:
    """What speaks in an inference."""

    name: str
    """The run's or the blend's."""
    members: list[Member]
    """The strongest run's first."""
    blends: list[Blend]
    """Of all runs, then of fewer and fewer: for media that time was too short for."""
    views: list[str]
    """Test-time views whose logits are averaged."""
    fallbacks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Reason why no model speaks for a medium → `logit` instead, and where it comes `from`."""
    dataset: str = ""
    """What it was trained on."""
    cv: float | None = None
    """What the whole scored out of fold on media with a face, nested where anything was chosen; None = not known."""
    cv_metric: str | None = None

    @property
    def threshold(self) -> float | None:
        """The tuned logit from which a medium is called fake; None where none was tuned."""
        return self.blends[0].tuned

    @property
    def runs(self) -> list[str]:
        return list(dict.fromkeys(member.run for member in self.members))

    @property
    def num_folds(self) -> int:
        return len({member.fold for member in self.members})

    def decision_logit(self, threshold: float) -> float:
        """The logit from which a medium is called fake: the tuned one, else that of P(fake) `threshold`."""
        from deepfake.score.blending import decision_logit

        return decision_logit(self.threshold, threshold)

    def inputs(self) -> dict[str, str]:
        """sha256 of each member's weights, and of how logits are combined: what logits by this ensemble are made of."""
        weights = {str(member): Fold(member.weights.parent).weights_sha256() for member in self.members}
        return weights | {
            "blend": digest([_as_ever(blend.to_json()) for blend in self.blends]),
            "fallbacks": digest(self.fallbacks),
            "views": ",".join(self.views),
        }

    def combine(self, rows: pd.DataFrame) -> pd.Series:
        """Logits by media_id of rows of the logits table."""
        from deepfake.score.combine import combine

        return combine(rows, self.blends)

    def predictor(
        self, *, amp: str, channels_last: bool, batch_size: int, num_threads: int, compiled: bool
    ) -> Predictor:
        """The models, loaded where they compute."""
        import torch

        from deepfake.learn.engine import choose_precision, prepare_process
        from deepfake.learn.predictor import Predictor

        precision = choose_precision(amp if torch.cuda.is_available() else "auto", channels_last=channels_last)
        prepare_process()
        return Predictor(
            [member.weights for member in self.members],
            precision,
            batch_size=batch_size,
            num_threads=num_threads,
            compiled=compiled,
        )

    def logit_rows(
        self, predictor: Predictor, faces: pd.DataFrame, crops: list[Path], *, views: list[str], members: int
    ) -> pd.DataFrame:
        """Rows of the logits table of rows of the faces table, whose crops these are, by the first `members` models.

        No model is asked about centre squares: a face is in each of the crops. UserError where a logit is not finite.
        """
        assert faces.found.all()
        with _finite(faces.media_id):
            logits = predictor.score(crops, views=views, members=members)
        return self._as_rows(faces, logits, views)

    def array_rows(self, predictor: Predictor, crops: list[np.ndarray]) -> pd.DataFrame:
        """Rows of the logits table of crops, uint8 RGB (H, W, 3), by all models and views: each stands for a medium,
        whose name is its number. UserError where a logit is not finite."""
        import pandas as pd

        faces = pd.DataFrame({"media_id": [f"{number:09d}" for number in range(len(crops))]})
        nothing = {"frame_idx": 0, "face_idx": 0, "track_id": 0, "found": True, "prob": None, "sharpness": 0.0}
        faces = faces.assign(**nothing, x0=0.0, y0=0.0)
        faces = faces.assign(x1=[float(crop.shape[1]) for crop in crops], y1=[float(crop.shape[0]) for crop in crops])
        with _finite(faces.media_id):
            logits = predictor.score_arrays(crops, views=self.views, members=len(self.members))
        return self._as_rows(faces, logits, self.views)

    def _as_rows(self, faces: pd.DataFrame, logits: np.ndarray, views: list[str]) -> pd.DataFrame:
        """Rows of the logits table of rows of the faces table and logits (N, members, views) of the first members."""
        import pandas as pd

        from deepfake.score.pool import view_rows

        tables = [
            view_rows(faces, logits[:, number], views).assign(run=member.run, fold=member.fold)
            for number, member in enumerate(self.members[: logits.shape[1]])
        ]
        return pd.concat(tables, ignore_index=True).assign(fallback=None)[list(LOGITS.columns)]


@contextmanager
def _finite(media_ids: pd.Series) -> Iterator[None]:
    """UserError, naming the media, where a logit is not finite."""
    from deepfake.learn.engine import NonFiniteError

    try:
        yield
    except NonFiniteError as error:
        names = ", ".join(media_ids.iloc[error.rows].unique()[:5])
        raise UserError(f"{error} ({names}): try train.amp=off, or train with other settings") from error


def _as_ever(blend: dict[str, Any]) -> dict[str, Any]:
    """A blend's plain values with the name that digests of submissions have always been made of."""
    fitted = {("finish" if name == "calibration" else name): value for name, value in blend["fitted"].items()}
    return blend | {"fitted": fitted}


def read_ensemble(roots: Roots, name: str, *, fold: str = "all", tta: list[str] | None = None) -> Ensemble:
    """The ensemble of a run or a blend.

    fold: of a run, or all: the numbered ones, or the full model where there are none. tta: test-time views; None: those
    that pay by the out-of-fold logits. UserError for a fold that is not trained, or a blend that is damaged or was made
    of other weights than are there.
    """
    run = Run(roots.runs / name)
    return _of_blend(run, fold, tta) if run.is_blend else _of_run(roots, run, fold, tta)


def _of_run(roots: Roots, run: Run, fold: str, tta: list[str] | None) -> Ensemble:
    """Mean of logits."""
    import pandas as pd

    from deepfake.score.fallback import fallbacks, labels_and_faceless

    if fold not in ("all", *run.folds):
        raise UserError(f"fold={fold} of run {run.name} is not trained; trained: {', '.join(run.folds)}")
    chosen = {fold: run.folds[fold]} if fold != "all" else run.numbered_folds or run.folds
    prior = sum(one.metadata["prior_logit"] for one in chosen.values()) / len(chosen)
    dataset = Dataset.at(roots, str(next(iter(chosen.values())).metadata["dataset"]))
    tables = run.oof_tables()
    oof = pd.concat(tables) if tables else OOF.empty()
    _, faceless = labels_and_faceless(oof, reals_alone=run.reals_alone)
    views = kept_views(run.name, tta, tables, split_of([run], dataset.folds) if dataset.has_split else None)
    cv = score_alone(run, [one for name, one in chosen.items() if name != FULL], views)
    blend = run_alone(run, views)
    tell_calibration(run, blend)
    return Ensemble(
        run.name,
        [Member(run.name, name, one.weights) for name, one in chosen.items()],
        [blend],
        views,
        fallbacks(prior, faceless, dataset.unreadable_labels()),
        dataset.name,
        cv,
        None if cv is None else "log_loss",
    )


def _of_blend(run: Run, fold: str, tta: list[str] | None) -> Ensemble:
    if fold != "all":
        raise UserError(f"fold={fold}, but {run.name} is a blend, made of all folds of its runs: leave fold out")
    record, blends = read_blends(run.blend_path)
    try:
        typed(record, weights_sha256=dict, views=list, fallbacks=dict, nested=dict, metric=str, dataset=str)
        weights, views = record["weights_sha256"], [str(view) for view in record["views"]]
        given = typed(record["fallbacks"], **dict.fromkeys(FALLBACKS, dict))
        for one in given.values():
            typed(one, logit=(int, float), **{"from": str})
        typed(record["nested"], blend=(int, float))
        # Fallback logits are cut where the blend is.
        shifted = {
            reason: {"logit": float(one["logit"]) + blends[0].threshold, "from": one["from"]}
            for reason, one in given.items()
        }
        cv, metric, dataset = float(record["nested"]["blend"]), record["metric"], record["dataset"]
        order = list(dict.fromkeys(name for blend in reversed(blends) for name in blend.runs))  # the last to go first
        folds = typed(weights, **dict.fromkeys(order, dict))
    except (KeyError, ValueError) as error:
        raise damaged_blend(run.blend_path, error) from error
    members = [member for name in order for member in _members(run, name, folds[name])]
    if tta not in (None, views):
        say("infer", f"views are those that the blend was fitted on: {', '.join(views)}")
    return Ensemble(run.name, members, blends, views, shifted, dataset, cv, metric)


def read_blends(path: Path) -> tuple[dict[str, Any], list[Blend]]:
    """A blend's file, and the blends in it: of all runs, then of fewer and fewer. UserError when it is damaged."""
    from deepfake.score.blending import Blend

    record = read_blend(path)
    try:
        typed(record, blend=dict, of_fewer_runs=list, views=list)
        return record, [Blend.from_json(one).without_idle() for one in (record["blend"], *record["of_fewer_runs"])]
    except (KeyError, ValueError) as error:
        raise damaged_blend(path, error) from error


def _members(blend: Run, name: str, weights: dict[str, str]) -> list[Member]:
    run, path = Run(blend.folder.parent / name), blend.blend_path
    members = []
    for fold, sha256 in weights.items():
        if fold not in run.folds:
            where = run.folder.parent
            raise UserError(f"{path} speaks by fold {fold} of run {name}, which is not in {where}: put it back")
        if run.folds[fold].weights_sha256() != sha256:
            raise UserError(f"{path} was made of another fold {fold} of run {name} than is there: make the blend again")
        members.append(Member(name, fold, run.folds[fold].weights))
    return members
