"""Somebody's own detector: a Python file with `predict(path)`, asked about every test medium."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from deepfake.console import listed, progress, say, share
from deepfake.errors import UserError
from deepfake.files import digest, sha256
from deepfake.tables import PROBLEMS
from deepfake.workspace.dataset import Dataset

if TYPE_CHECKING:
    import pandas as pd

MOST_SURE = 1e-7  # nearer to 0 and 1 a probability is not taken, so that its logit is finite: ±16.1


@dataclass(frozen=True)
class Detector:
    """A file with a function predict."""

    file: Path

    @property
    def name(self) -> str:
        return self.file.stem

    def check(self) -> None:
        """UserError where there is no such file."""
        if not self.file.is_file():
            raise UserError(f"model={self.file} is not there: a Python file with predict(path) → probability of fake")

    def load(self) -> Callable[[str], Any]:
        """Its predict. What lies beside the file can be imported by it. UserError, with the line of the file, where it
        cannot be run or has no predict."""
        self.check()
        name = f"detector {self.name}"
        spec = importlib.util.spec_from_file_location(name, self.file)
        assert spec and spec.loader, "a .py file has a loader"
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        sys.path.insert(0, str(self.file.resolve().parent))
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            raise UserError(f"model={self.file} cannot be run: {self._told(error)}") from error
        predict = getattr(module, "predict", None)
        if not callable(predict):
            raise UserError(
                f"model={self.file} has no function predict(path) → probability of fake; {self._functions(module)}"
            )
        return predict

    def scores(self, predict: Callable[[str], Any], dataset: Dataset, raw: Path, folder: Path) -> pd.Series:
        """Logits by media_id of the test media for which predict gave a probability; failures are counted, said, and
        written to evaluate_problems.csv in the folder. A kill costs the medium under way. UserError where all failed.

        predict: as load gives it. raw: the folder that the media's paths are relative to.
        """
        import pandas as pd

        from deepfake.media.journal import Journal
        from deepfake.score.pool import log_odds

        media, progress_path = dataset.test_media(), folder / "evaluate_progress.jsonl"
        journal = Journal(progress_path, digest([sha256(self.file), sha256(dataset.media_path)]))
        entries = {entry["media_id"]: entry for entry in journal.read() if "prob" in entry}
        if entries:
            say("evaluate", f"going on: {len(entries)} media are scored")
        with journal.open(entries) as handle, progress(len(media), self.name[:8], "media", len(entries)) as bar:
            for row in media[~media.media_id.isin(entries.keys())].itertuples():
                entry = {"media_id": row.media_id} | self._ask(predict, str((raw / row.path).absolute()))
                entries[row.media_id] = entry
                handle.write(json.dumps(entry) + "\n")
                handle.flush()
                bar.update()
        progress_path.unlink()  # the next call asks anew: what the file loads may have changed
        said = {name: entry["prob"] for name, entry in entries.items() if "prob" in entry}
        self._tell_failures([entry for entry in entries.values() if "error" in entry], len(media), folder)
        logits = {name: log_odds(min(max(prob, MOST_SURE), 1 - MOST_SURE)) for name, prob in said.items()}
        return pd.Series(logits, name="logit").sort_index()

    def _ask(self, predict: Callable[[str], Any], path: str) -> dict[str, Any]:
        """`prob`, or `error` and `detail`."""
        try:
            given = predict(path)
        except (Exception, SystemExit) as error:
            return {"error": type(error).__name__, "detail": self._told(error)}
        try:
            prob = float(given)
        except Exception:  # of whatever somebody's type raises
            return {"error": "no_probability", "detail": f"predict gave {_short(given)}; wanted: a number from 0 to 1"}
        if not 0 <= prob <= 1 or math.isnan(prob):
            return {"error": "no_probability", "detail": f"predict gave {prob:g}; wanted: a number from 0 to 1"}
        return {"prob": prob}

    def _tell_failures(self, failures: list[dict[str, Any]], total: int, folder: Path) -> None:
        import pandas as pd

        path = folder / "evaluate_problems.csv"
        table = pd.DataFrame(failures, columns=list(PROBLEMS.columns)) if failures else PROBLEMS.empty()
        PROBLEMS.write(table, path)
        if len(failures) == total:
            raise UserError(f"{self.file} failed for all {total} test media; the first: {failures[0]['detail']}")
        if failures:
            names = listed(entry["media_id"] for entry in failures)
            say("evaluate", f"{share(len(failures), total)} test media failed and are in no table: {names}; see {path}")

    def _told(self, error: BaseException) -> str:
        """An error in a line, with the last line of the file that it came through."""
        if isinstance(error, SyntaxError):
            return f"line {error.lineno}: {type(error).__name__}: {error.msg}"
        file = self.file.resolve()
        own = [one for one in traceback.extract_tb(error.__traceback__) if Path(one.filename).resolve() == file]
        where = f"line {own[-1].lineno}: " if own else ""
        return " ".join(f"{where}{type(error).__name__}: {error}".split())[:300]

    @staticmethod
    def _functions(module: ModuleType) -> str:
        own = [name for name, one in vars(module).items() if callable(one) and not name.startswith("_")]
        return f"it has {listed(own)}" if own else "it has none at all"


def _short(given: Any) -> str:
    """What came, in words."""
    shape = getattr(given, "shape", None)
    return f"{type(given).__name__} of shape {tuple(shape)}" if shape else f"{type(given).__name__} {given!r:.60}"
