"""evaluate: how good a run is on media that it was tested on, and out of fold, by generator, the weakest first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake.arguments import load_config
from deepfake.commands import Chain
from deepfake.config import Config
from deepfake.console import say
from deepfake.errors import UserError
from deepfake.files import replacing, sha256
from deepfake.provenance import read_provenance
from deepfake.settings import config_of_run, dataset_of, ensemble_of, roots_of, run_of, submission_of
from deepfake.tables import SCORES
from deepfake.workspace.dataset import Dataset

if TYPE_CHECKING:
    import pandas as pd

    from deepfake.workspace.ensemble import Ensemble
    from deepfake.workspace.submission import Submission

ABOUT = "how good a run is, by generator, the weakest first; beside it, by its out-of-fold logits"
READS = ("paths", "data", "name", "fold")
ORDER = 65

SHOWN = {  # columns of the table on the screen, and how they are written
    **{"method": "s", "reals": "d", "fakes": "d", "auc": ".3f", "interval": "s", "ap": ".3f", "accuracy": ".3f"},
    **{"tpr_1": ".3f", "eer": ".3f", "log_loss": ".3f", "calibration_error": ".3f", "surely_wrong": ".3f"},
}


def configure(options: Sequence[str], chain: Chain) -> Config | None:
    """By itself it goes by the configuration of the run that it is asked about."""
    return config_of_run(load_config(options), options) if chain.names == ("evaluate",) else None


def run(cfg: Config, chain: Chain) -> pd.DataFrame:
    """Print the tables, and write them beside the submission: evaluation.csv, .json, .md. Gives back the first.

    UserError where there are no logits of these models for these media, or no test medium has a known label.
    """
    import pandas as pd

    from deepfake.score.evaluation import evaluate

    run_of(cfg).cropping_run().check_trained()
    dataset, ensemble = dataset_of(cfg), ensemble_of(cfg)
    submission = submission_of(cfg, dataset, ensemble)
    _check_current(submission, dataset, ensemble)
    path, threshold = submission.scores_path, ensemble.threshold or 0.0
    tables = {f"test media of {dataset.name}": evaluate(_labelled(dataset, submission), threshold=threshold)}
    oof = _out_of_fold(cfg, ensemble)
    if oof is not None:
        tables[f"out of fold, {ensemble.dataset}"] = evaluate(oof, threshold=threshold)
    written = pd.concat([table.assign(on=name) for name, table in tables.items()], ignore_index=True)
    text = "\n\n".join(f"## {name}\n\n{markdown(table)}" for name, table in tables.items())
    for suffix, content in (
        ("csv", written.to_csv(index=False)),
        ("json", written.to_json(orient="records", indent=1)),
        ("md", f"# {path.parent.name}\n\n{text}\n"),
    ):
        with replacing(path.with_name(f"evaluation.{suffix}")) as temporary:
            Path(temporary).write_text(content)
    for name, table in tables.items():
        print(f"\n{name}\n{_aligned(table)}")
    say("evaluate", f"→ {path.with_name('evaluation.csv')}, .json, .md")
    return tables[f"test media of {dataset.name}"]


def _check_current(submission: Submission, dataset: Dataset, ensemble: Ensemble) -> None:
    """UserError where there are no logits, or those of other models or media. What was given up for time is said."""
    made = read_provenance(submission.logits_path)
    wanted = ensemble.inputs() | {"media": sha256(dataset.media_path)}
    again = "first ./run_infer.sh with the same name and data"
    if made is None or not submission.scores_path.is_file():
        raise UserError(f"{submission.scores_path} is not there: {again}")
    if any(made.inputs.get(name) != value for name, value in wanted.items()):
        raise UserError(f"{submission.scores_path} is of other models or media than are there now: {again}")
    if degraded := made.inputs.get("incomplete"):
        say("evaluate", f"these logits are of less than the whole: {degraded}")


def _labelled(dataset: Dataset, submission: Submission) -> pd.DataFrame:
    """The test media with a known label, with their logits: label, method, source, logit."""
    media = dataset.test_media()
    media = media[media.label.notna()]
    if media.empty:
        raise UserError(f"no test medium of {dataset.name} has a known label: there is nothing to compare with")
    logits = SCORES.read(submission.scores_path).set_index("media_id").logit
    return media.assign(source=media.source_id.fillna(media.media_id), logit=media.media_id.map(logits))


def _out_of_fold(cfg: Config, ensemble: Ensemble) -> pd.DataFrame | None:
    """The same of the media that the run was trained on, by the models that did not see them, media without a face at
    their fallback; None where there are none, as with fold=full, or for a blend, whose own score `blend` tells, or
    where the split is not there, as on a machine that only infers."""
    import pandas as pd

    from deepfake.score.fallback import fallbacks, labels_and_faceless, medium_logits, prior_logit

    tables, trained_on = run_of(cfg).oof_tables(), Dataset.at(roots_of(cfg), ensemble.dataset)
    if not (tables and trained_on.folds_path.is_file()):
        return None
    oof = pd.concat(tables)
    oof = oof[oof.view.isin(ensemble.views)]
    labels, faceless = labels_and_faceless(oof)
    no_face = fallbacks(prior_logit(labels.to_numpy(int)), faceless.to_numpy(int))["no_face"]["logit"]
    folds = trained_on.folds.rename(columns={"group_id": "source"})
    logits = medium_logits(oof, no_face).rename("logit").rename_axis("media_id").reset_index()
    return folds.merge(logits, on="media_id")


def _cells(table: pd.DataFrame) -> list[list[str]]:
    rows = []
    for row in table.to_dict("records"):
        row["interval"] = "" if row["auc"] != row["auc"] else f"{row['auc_low']:.3f} to {row['auc_high']:.3f}"
        rows.append([format(row[name], form) for name, form in SHOWN.items()])
    return rows


def markdown(table: pd.DataFrame) -> str:
    """The columns that people read, as a table in Markdown."""
    lines = [list(SHOWN), ["---", *["---:"] * (len(SHOWN) - 1)], *_cells(table)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _aligned(table: pd.DataFrame) -> str:
    from deepfake.report.table import aligned

    return aligned(list(SHOWN), _cells(table), [form != "s" for form in SHOWN.values()])
