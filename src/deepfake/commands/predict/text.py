"""Predictions as a table for people, and as JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deepfake.pipeline.single import FilePredictor, Prediction, chance
from deepfake.tables import BOX


def as_table(by: FilePredictor, predictions: Sequence[Prediction]) -> str:
    """Lines that say what the columns are, and a line a file."""
    from deepfake.report.table import aligned

    folds = by.ensemble.num_folds
    alone = f", lowest and highest of what the models of the {folds} folds say alone" if folds > 1 else ""
    start = f"P(fake){alone}; fake from {chance(by.threshold):.4g}"
    about = f"{start}; people followed, their faces, and the frames with them"
    header = ["file", "P(fake)", *(["lowest", "highest"] if folds > 1 else []), "verdict", "people", "faces", "frames"]
    rows = [_cells(one, folds > 1) for one in predictions]
    return f"{about}\n\n{aligned([*header, 'remarks'], rows, [False, *[True] * (len(header) - 1), False])}"


def _cells(one: Prediction, with_range: bool) -> list[str]:
    numbers = [one.logit, one.lowest, one.highest] if with_range else [one.logit]
    cells = ["-" if number is None else f"{chance(number):.4f}" for number in numbers]
    counts = [str(count) if one.faces is not None else "-" for count in (one.people, one.num_faces, one.num_frames)]
    kind = "" if one.error in ("", "no_face") else f"{one.error}: "
    return [one.path, *cells, one.verdict or "-", *counts, f"{kind}{one.detail}"]


def count_verdicts(predictions: Sequence[Prediction]) -> str:
    """`3 files: 1 fake, 1 real, 1 without a face`."""
    counts = {
        "fake": sum(one.verdict == "fake" for one in predictions),
        "real": sum(one.verdict == "real" for one in predictions),
        "without a face": sum(one.error == "no_face" for one in predictions),
        "unreadable": sum(one.faces is None for one in predictions),
    }
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f"{len(predictions)} file{'s' if len(predictions) > 1 else ''}: {told}"


def as_json(by: FilePredictor, predictions: Sequence[Prediction], others: tuple[str, ...]) -> dict[str, Any]:
    """All that is known, as plain values: probabilities 0 to 1, boxes in px of the upright frame, times in seconds.

    others: files that were named and are no media.
    """
    return {
        "run": by.ensemble.name,
        "models": [str(member) for member in by.ensemble.members],
        "threshold": chance(by.threshold),
        "lowest_highest": f"what the models of each of {by.ensemble.num_folds} folds say alone",
        "files": [_file_json(one) for one in predictions],
        "no_media": list(others),
    }


def _file_json(one: Prediction) -> dict[str, Any]:
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
