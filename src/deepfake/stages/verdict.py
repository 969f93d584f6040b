"""The verdict on a file, for people and for programs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deepfake.stages.plan import Plan
from deepfake.tables import BOX

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.media.workers import Failure


@dataclass(frozen=True)
class Verdict:
    """What is said of one file.

    verdict: fake or real, None where no model speaks. logit: of fake; of a file without a face that which is stated for
    such files, None of an unreadable one. lowest, highest: what the models of each fold say alone. error: no_face, or
    extraction's kind of failure, "" = none; detail: in words. faces: rows of the faces table with `logit`, nan where no
    face was found; None of an unreadable file. facts: the row of the extracted table.
    """

    path: str
    verdict: str | None = None
    logit: float | None = None
    lowest: float | None = None
    highest: float | None = None
    error: str = ""
    detail: str = ""
    faces: pd.DataFrame | None = None
    facts: dict[str, Any] | None = None

    @classmethod
    def unreadable(cls, path: str, failure: Failure) -> Verdict:
        return cls(path, error=failure.error, detail=failure.detail)

    @classmethod
    def faceless(cls, path: str, faces: pd.DataFrame, facts: dict[str, Any], stated: dict[str, Any]) -> Verdict:
        """stated: the logit that is stated for such files, and `from`."""
        note = f"; {facts['note']}" if facts["note"] else ""
        detail = f"no face found: P(fake) is the {stated['from']}{note}"
        return cls(path, logit=stated["logit"], error="no_face", detail=detail, faces=faces, facts=facts)

    @classmethod
    def seen(
        cls, path: str, faces: pd.DataFrame, facts: dict[str, Any], logits: tuple[float, float, float], threshold: float
    ) -> Verdict:
        """logits: of all models, lowest, highest. threshold: the logit from which a file is called fake."""
        logit, lowest, highest = map(float, logits)
        verdict = "fake" if logit >= threshold else "real"
        return cls(path, verdict, logit, lowest, highest, detail=facts["note"] or "", faces=faces, facts=facts)

    @property
    def people(self) -> int:
        return 0 if self.facts is None else self.facts["tracks"]

    @property
    def num_faces(self) -> int:
        """Crops that models spoke for."""
        return 0 if self.faces is None else int(self.faces.found.sum())

    @property
    def num_frames(self) -> int:
        """Frames of these crops."""
        return 0 if self.faces is None else int(self.faces.frame_idx[self.faces.found].nunique())


def chance(logit: float | None) -> float | None:
    """Log-odds → probability; None of None."""
    from deepfake.score.pool import sigmoid

    if logit is None or math.isnan(logit):
        return None
    return float(sigmoid(logit))


def as_table(plan: Plan, threshold: float, verdicts: list[Verdict]) -> str:
    """Lines that say what the columns are, and a line a file. threshold: the logit from which a file is called fake."""
    from deepfake.report.table import aligned

    folds = _num_folds(plan)
    alone = f", lowest and highest of what the models of the {folds} folds say alone" if folds > 1 else ""
    about = f"P(fake){alone}; fake from {chance(threshold):.4g}; people followed, their faces, and the frames with them"
    header = ["file", "P(fake)", *(["lowest", "highest"] if folds > 1 else []), "verdict", "people", "faces", "frames"]
    rows = [_cells(one, folds > 1) for one in verdicts]
    return f"{about}\n\n{aligned([*header, 'remarks'], rows, [False, *[True] * (len(header) - 1), False])}"


def _cells(one: Verdict, with_range: bool) -> list[str]:
    numbers = [one.logit, one.lowest, one.highest] if with_range else [one.logit]
    cells = ["-" if number is None else f"{chance(number):.4f}" for number in numbers]
    counts = [str(count) if one.faces is not None else "-" for count in (one.people, one.num_faces, one.num_frames)]
    kind = "" if one.error in ("", "no_face") else f"{one.error}: "
    return [one.path, *cells, one.verdict or "-", *counts, f"{kind}{one.detail}"]


def _num_folds(plan: Plan) -> int:
    return len({member.fold for member in plan.members})


def count_verdicts(verdicts: list[Verdict]) -> str:
    """`3 files: 1 fake, 1 real, 1 without a face`."""
    counts = {
        "fake": sum(one.verdict == "fake" for one in verdicts),
        "real": sum(one.verdict == "real" for one in verdicts),
        "without a face": sum(one.error == "no_face" for one in verdicts),
        "unreadable": sum(one.faces is None for one in verdicts),
    }
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f"{len(verdicts)} file{'s' if len(verdicts) > 1 else ''}: {told}"


def as_json(run: str, plan: Plan, threshold: float, verdicts: list[Verdict], others: tuple[str, ...]) -> dict[str, Any]:
    """All that is known, as plain values: probabilities 0 to 1, boxes in px of the upright frame, times in seconds.

    threshold: the logit from which a file is called fake.
    """
    return {
        "run": run,
        "models": [f"{member.run} fold {member.fold}" for member in plan.members],
        "threshold": chance(threshold),
        "lowest_highest": f"what the models of each of {_num_folds(plan)} folds say alone",
        "files": [_file_json(one) for one in verdicts],
        "no_media": list(others),
    }


def _file_json(one: Verdict) -> dict[str, Any]:
    facts = one.facts or {}
    return {
        "file": one.path,
        "probability": chance(one.logit),
        "lowest": chance(one.lowest),
        "highest": chance(one.highest),
        "logit": one.logit,
        "verdict": one.verdict,
        "error": one.error or None,
        "detail": one.detail or None,
        "people": one.people,
        "faces": one.num_faces,
        "frames": one.num_frames,
        "width": facts.get("width"),
        "height": facts.get("height"),
        "scores": [] if one.faces is None else [_crop_json(row) for row in one.faces.itertuples()],
    }


def _crop_json(row: Any) -> dict[str, Any]:
    """A row of the faces table with its logit."""
    return {
        "frame": int(row.frame_idx),
        "time_s": float(row.pts_s),
        "box": [float(getattr(row, side)) for side in BOX],
        "track": int(row.track_id),
        "found": bool(row.found),
        "probability": chance(float(row.logit)),
    }
