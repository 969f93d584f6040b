"""A run's folder: what its files are called, what its folds were made from, what they say of media they did not see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake.errors import UserError
from deepfake.files import read_json, sha256
from deepfake.tables import HELD_OUT, OOF

if TYPE_CHECKING:
    import pandas as pd

FULL = "full"  # the fold that is trained on everything, and holds nothing out


@dataclass(frozen=True)
class Fold:
    """One fold of a run: `runs/<run>/fold0/`, or `runs/<run>/full/`."""

    folder: Path

    @property
    def name(self) -> str:
        """`0`, `1`, …, or `full`."""
        return self.folder.name.removeprefix("fold")

    @property
    def config_path(self) -> Path:
        """The configuration, and what the training was made from; written first."""
        return self.folder / "config.json"

    @property
    def metrics_path(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def lock(self) -> Path:
        """Held by the process that trains the fold."""
        return self.folder / ".train.lock"

    @property
    def tensorboard(self) -> Path:
        return self.folder / "tensorboard"

    @property
    def last_path(self) -> Path:
        """What training goes on from."""
        return self.folder / "last.pt"

    @property
    def weights(self) -> Path:
        """The best epoch's, with metadata in a JSON beside them."""
        return self.folder / "best.safetensors"

    @property
    def done_path(self) -> Path:
        """What the finished fold scored; written last."""
        return self.folder / "done.json"

    @property
    def oof_path(self) -> Path:
        return self.folder / "oof.parquet"

    @property
    def held_out_path(self) -> Path:
        """What it was validated by, where that is not simply its media of the split."""
        return self.folder / "held_out.csv"

    @property
    def is_finished(self) -> bool:
        """Whether the folder holds all that training leaves behind."""
        needed = [self.done_path, self.config_path, self.weights, self.weights.with_suffix(".json")]
        needed += [] if self.name == FULL else [self.oof_path]
        return all(path.is_file() for path in needed)

    @cached_property
    def oof(self) -> pd.DataFrame:
        """Logits of the media that it did not see; no rows for `full`."""
        return OOF.empty() if self.name == FULL else OOF.read(self.oof_path)

    @cached_property
    def held_out(self) -> pd.DataFrame | None:
        """The held-out table; None where it was validated by its media of the split."""
        return HELD_OUT.read(self.held_out_path) if self.held_out_path.is_file() else None

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What stands beside the weights. UserError when it is missing or damaged."""
        from deepfake.learn.metadata import read_metadata

        return read_metadata(self.weights)

    @cached_property
    def training(self) -> dict[str, dict[str, Any]]:
        """`config`, and `made_from`: its settings that shape results, and sha256 of its inputs. UserError when the file
        is damaged."""
        try:
            saved = read_json(self.config_path)
            return {"config": saved["config"], "made_from": saved["made_from"]}
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{self.config_path} is damaged ({error}): remove {self.folder} and train it again"
            ) from error

    def weights_sha256(self) -> str:
        return sha256(self.weights)


@dataclass(frozen=True)
class Run:
    """A run's folder, or a blend's, which has no folds of its own."""

    folder: Path

    @classmethod
    def all(cls, runs: Path) -> list[Run]:
        """Every run with a trained fold, and every blend, by name."""
        there = [cls(folder) for folder in sorted(runs.glob("*"))]
        return [run for run in there if run.is_blend or run.folds]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def blend_path(self) -> Path:
        """How the logits of several runs become one."""
        return self.folder / "blend.json"

    @property
    def is_blend(self) -> bool:
        return self.blend_path.is_file()

    @cached_property
    def folds(self) -> dict[str, Fold]:
        """Finished folds by name (`0`, `1`, …, `full`), numbers first."""
        there = (Fold(path.parent) for path in self.folder.glob("*/done.json"))
        finished = {fold.name: fold for fold in there if fold.is_finished}
        return dict(sorted(finished.items(), key=lambda item: (item[0] == FULL, len(item[0]), item[0])))

    @property
    def numbered_folds(self) -> dict[str, Fold]:
        """Finished folds that hold media out."""
        return {name: fold for name, fold in self.folds.items() if name != FULL}

    def fold(self, name: str) -> Fold:
        """The fold of that name, whether it is there or not."""
        return Fold(self.folder / (FULL if name == FULL else f"fold{name}"))

    def started_folds(self) -> list[Fold]:
        """Folds whose training has begun, finished or not."""
        return [Fold(path.parent) for path in sorted(self.folder.glob("*/config.json"))]

    def check_trained(self) -> None:
        """UserError when it has no trained fold."""
        if not self.folds:
            raise UserError(
                f"{self.folder} holds no trained fold; {self.known_runs()}. Train with ./run_train.sh first"
            )

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that the run was trained with. UserError when it has no trained fold."""
        self.check_trained()
        return next(iter(self.folds.values())).training["config"]

    @property
    def dataset(self) -> str:
        """Name of the data set that it was trained on."""
        return str(next(iter(self.folds.values())).metadata["dataset"])

    def oof_tables(self) -> list[pd.DataFrame]:
        """Out-of-fold logits of each finished fold that holds media out."""
        return [fold.oof for fold in self.numbered_folds.values()]

    @property
    def reals_alone(self) -> bool:
        """Whether its folds were validated by fakes that were made for it, as none was given."""
        there = [fold.held_out for fold in self.numbered_folds.values()]
        return any(table is not None and table.made_from.notna().any() for table in there)

    @property
    def unseen(self) -> set[str]:
        """Media of methods, or of sources of reals, that the fold that held them out had never met, beside the other
        class; empty for a run that was trained without train.hold_out."""
        there = [fold.held_out for fold in self.numbered_folds.values()]
        return {name for table in there if table is not None for name in table.media_id[table.unseen]}

    def scored_folds(self) -> dict[str, Fold]:
        """Finished folds that have out-of-fold logits. UserError when there is none."""
        if self.numbered_folds:
            return self.numbered_folds
        if self.is_blend:
            raise UserError(f"{self.name} is a blend: name its runs, {', '.join(self.blended_runs())}")
        if self.folds:
            raise UserError(
                f"run {self.name} has fold=full alone, which holds no media out: train its folds with fold=all"
            )
        there = [run.name for run in Run.all(self.folder.parent) if not run.is_blend]
        raise UserError(f"run {self.name} has no trained fold; trained runs: {', '.join(there) or 'none'}")

    def blended_runs(self) -> list[str]:
        """Of a blend: the runs in it. UserError when it is damaged."""
        return list(read_blend(self.blend_path)["weights_sha256"])

    def cropping_run(self) -> Run:
        """The run whose configuration says how media are cropped: itself, or a blend's first."""
        return Run(self.folder.parent / self.blended_runs()[0]) if self.is_blend else self

    def known_runs(self) -> str:
        """What is there, in words."""
        there = Run.all(self.folder.parent)
        runs, blends = ([run.name for run in there if run.is_blend == kind] for kind in (False, True))
        known = f"runs with trained folds: {', '.join(runs)} (name=…)" if runs else "no run has a trained fold yet"
        return known + (f"; blends: {', '.join(blends)}" if blends else "")


def split_of(runs: Iterable[Run], folds: pd.DataFrame) -> pd.DataFrame:
    """The folds table of all media that these runs have scored out of fold: that of the split, and below it the fakes
    that were made for validation."""
    import pandas as pd

    tables = [fold.held_out for run in runs for fold in run.numbered_folds.values()]
    made = [table.loc[table.made_from.notna(), list(folds)] for table in tables if table is not None]
    return pd.concat([folds, *made]).drop_duplicates("media_id", ignore_index=True) if made else folds


def read_blend(path: Path) -> dict[str, Any]:
    """A blend's file. UserError when it is damaged."""
    try:
        record = read_json(path)
        if not record["weights_sha256"]:
            raise ValueError("no runs")
        return record
    except (OSError, ValueError, KeyError) as error:
        raise damaged_blend(path, error) from error


def damaged_blend(path: Path, error: Exception) -> UserError:
    """The one line about a blend's file that cannot be used."""
    return UserError(f"{path} is damaged ({type(error).__name__}: {error}): make the blend again")
