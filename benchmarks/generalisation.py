"""What carries over to forgeries that a training never saw: recipes side by side, each trained and tested alike.

    python benchmarks/generalisation.py --train FOLDER --test NAME=FOLDER … [--reals NAME=FOLDER …] [--weights FILE]
        [--model NAME] [--rows NAME,…] [--seeds 0,1,2] [--fold 0] [--work FOLDER]

--train: whole pictures, real and fake, as `index` reads them. --test: labelled sets of other generators. --reals:
photographs alone, on which false alarms are counted. Each cell is a normal run (index folds extract forge train, then
infer and evaluate for each set) in the work folder; what is finished there is left alone, so that a call that was cut
short goes on, and rows may be added. Nothing is chosen by the tests here: rows are what ROWS says, and all are shown.
Writes benchmarks/results/generalisation-<name of the training folder>.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from machine import RESULTS, hardware, python_path, table

WHOLE = ("crop.mode=whole", "crop.size=0")
PLAIN = (  # on the resized picture, flips and windows alone, as many recipes are
    *("augment.hflip=0.5", "augment.shift_scale_rotate=0", "augment.colour=0", "augment.jpeg=0", "augment.blur=0"),
    *("augment.noise=0", "optim.lr=1e-3", "train.batch_size=32", "train.frames_per_medium=1", "train.ema=0.99"),
)
CALM = (*PLAIN, "model.resize=false", "model.image_size=256", "train.epochs=6", "train.label_smoothing=0.1")
SMALL, LARGE = "augment.random_crop=160", "augment.random_crop=192"
SIZED = (*CALM, LARGE, "model.windows=5", "augment.damage=0.5", "augment.sizes=[0.5,1.25]")
FORGED = (*SIZED, "train.forge=[upsample,reconstruct]")
DOUBT = "train.doubt=0.1"
ROWS: dict[str, tuple[str, ...]] = {  # by the name of the run
    "plain": (*PLAIN, "model.image_size=192", "augment.random_crop=144", "train.epochs=8"),
    "native": (*CALM, SMALL),
    "damaged": (*CALM, SMALL, "augment.damage=0.5"),
    "forged": FORGED,
    "longer": (*FORGED, "train.epochs=12", DOUBT),
    "upsampled": (*SIZED, "train.forge=[upsample]", "train.epochs=8", DOUBT),
    "reals": (*FORGED, "train.forge_share=1"),
}


@dataclass(frozen=True)
class Sets:
    """What is trained on and tested."""

    train: Path
    tests: dict[str, Path]
    reals: dict[str, Path]
    work: Path
    common: tuple[str, ...] = field(default=())
    """Options of every row."""


def main() -> None:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--reals", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--fold", default="0")
    parser.add_argument("--work", type=Path, default=Path("generalisation"))
    asked = parser.parse_args()
    common = (f"model.name={asked.model}", f"fold={asked.fold}")
    common += (f"model.weights={asked.weights.resolve()}",) if asked.weights else ()
    sets = Sets(asked.train.resolve(), _named(asked.test), _named(asked.reals), asked.work.resolve(), common)
    sets.work.mkdir(parents=True, exist_ok=True)
    rows = asked.rows.split(",")
    cells = {row: [run_cell(sets, row, int(seed)) for seed in asked.seeds.split(",")] for row in rows}
    text = page(sets, cells)
    print(text)
    (RESULTS / f"generalisation-{sets.train.name}.md").write_text(text)


def _named(pairs: list[str]) -> dict[str, Path]:
    return {name: Path(folder).resolve() for name, _, folder in (pair.partition("=") for pair in pairs)}


def run_cell(sets: Sets, row: str, seed: int) -> dict[str, dict[str, float]]:
    """The figures of a row under a seed: of the out-of-fold media and of each set."""
    name = f"{row}-seed{seed}"
    _call(
        sets, ["index", "folds", "extract", "forge", "train"], f"data.root={sets.train}", *WHOLE, *sets.common,
        *ROWS[row], f"seed={seed}", f"name={name}",
    )  # fmt: skip
    found: dict[str, dict[str, float]] = {}
    for key, folder in sets.tests.items():
        _call(sets, ["index", "infer", "evaluate"], f"name={name}", f"data.root={folder}", f"data.name={key}")
        rows = json.loads((sets.work / f"submissions/{name}_{key}/evaluation.json").read_text())
        found[key] = _of_set([one for one in rows if one["on"].startswith("test")])
        found["out of fold"] = _of_set([one for one in rows if not one["on"].startswith("test")])
    for key, folder in sets.reals.items():
        asked = (f"name={name}", f"data.root={folder}", f"data.name={key}", "data.layout=unlabelled")
        _call(sets, ["index", "infer"], *asked)
        scores = pd.read_csv(sets.work / f"submissions/{name}_{key}/scores.csv")
        found[key] = {"called fake": float((scores.logit > 0).mean()), "surely": float((scores.logit > 3).mean())}
    return found


def _of_set(rows: list[dict]) -> dict[str, float]:
    whole, *parts = rows
    parts = parts or [whole]
    return {
        "auc": whole["auc"],
        "low": whole["auc_low"],
        "high": whole["auc_high"],
        "mean": statistics.mean(row["auc"] for row in parts),
        "weakest": min(row["auc"] for row in parts),
        "log_loss": whole["log_loss"],
        "surely_wrong": whole["surely_wrong"],
    }


def _call(sets: Sets, commands: list[str], *options: str) -> None:
    """Commands in the work folder; what they say goes to its log, one call after the other."""
    line = [sys.executable, "-m", "deepfake", *commands, *options]
    environment = os.environ | {"PYTHONPATH": python_path()}
    with open(sets.work / "log.txt", "a") as log:
        log.write(f"\n$ deepfake {' '.join(line[3:])}\n")
        log.flush()
        if subprocess.run(line, check=False, cwd=sets.work, env=environment, stdout=log, stderr=log).returncode:
            raise SystemExit(f"failed, see {sets.work / 'log.txt'}: deepfake {' '.join(line[3:])}")


def page(sets: Sets, cells: dict[str, list[dict[str, dict[str, float]]]]) -> str:
    """The table in Markdown: means over the seeds."""
    head = ["recipe", "out of fold AUC", "log loss"]
    for key in sets.tests:
        head += [f"{key} AUC", "by generator", "weakest", "log loss", "surely wrong"]
    head += [f"{key} called fake" for key in sets.reals]
    rows = []
    for name, seeds in cells.items():
        oof = _mean(seeds, "out of fold")
        row = [f"{name} ({len(seeds)})", f"{oof['auc']:.3f}", f"{oof['log_loss']:.3f}"]
        for key in sets.tests:
            one = _mean(seeds, key)
            row += [f"{one['auc']:.3f} ({one['low']:.2f} to {one['high']:.2f})", f"{one['mean']:.3f}"]
            row += [f"{one['weakest']:.2f}", f"{one['log_loss']:.3f}", f"{100 * one['surely_wrong']:.1f} %"]
        row += [f"{100 * _mean(seeds, key)['called fake']:.0f} %" for key in sets.reals]
        rows.append(row)
    return (
        f"# Trained on {sets.train.name}, tested on {', '.join(sets.tests)}\n\n{hardware()}. AUC of media, with the "
        f"interval over sources; `by generator`: the mean of each one's AUC; in brackets the number of seeds, whose "
        f"mean is shown. Options of all rows: `{' '.join((*WHOLE, *(o for o in sets.common if '/' not in o)))}`.\n\n"
        f"{table(head, rows)}\n"
        + "\n".join(f"- {name}: `{' '.join(options)}`" for name, options in ROWS.items() if name in cells)
        + "\n"
    )


def _mean(seeds: list[dict[str, dict[str, float]]], key: str) -> dict[str, float]:
    return {name: statistics.mean(cell[key][name] for cell in seeds) for name in seeds[0][key]}


if __name__ == "__main__":
    main()
