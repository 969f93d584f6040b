"""Every file and folder name of the project, as functions of a configuration's paths. Nothing here touches the disk."""

from __future__ import annotations

from pathlib import Path


def dataset_folder(data: Path, dataset: str) -> Path:
    """`data/<dataset>/`: everything that is derived from one raw folder."""
    return data / dataset


def media_table(data: Path, dataset: str) -> Path:
    return dataset_folder(data, dataset) / "media.parquet"


def faces_table(data: Path, dataset: str) -> Path:
    return dataset_folder(data, dataset) / "faces.parquet"


def extracted_table(data: Path, dataset: str) -> Path:
    return dataset_folder(data, dataset) / "extracted.csv"


def extract_lock(data: Path, dataset: str) -> Path:
    """Held by the process that extracts the data set."""
    return dataset_folder(data, dataset) / ".extract.lock"


def faces_journal(data: Path, dataset: str) -> Path:
    """Finished media of the extraction, one JSON line each; what faces.parquet is made of."""
    return dataset_folder(data, dataset) / "extract_journal.jsonl"


def crops_folder(data: Path, dataset: str) -> Path:
    return dataset_folder(data, dataset) / "crops"


def problems_table(folder: Path, stage: str) -> Path:
    """`<stage>_problems.csv` beside the stage's table."""
    return folder / f"{stage}_problems.csv"


def demo_folder(data: Path) -> Path:
    """Where the built-in demo set is rendered."""
    return data / "demo" / "raw"


def folds_table(folds: Path, dataset: str) -> Path:
    return folds / f"{dataset}.csv"


def run_folder(runs: Path, run: str) -> Path:
    return runs / run


def blend_file(runs: Path, run: str) -> Path:
    """How the logits of several runs become one; a run that has it has no folds of its own."""
    return run_folder(runs, run) / "blend.json"


def fold_folder(runs: Path, run: str, fold: str) -> Path:
    """`runs/<run>/fold0/`, or `runs/<run>/full/` for the model trained on everything."""
    return run_folder(runs, run) / ("full" if fold == "full" else f"fold{fold}")


def run_config(fold: Path) -> Path:
    return fold / "config.json"


def metrics_log(fold: Path) -> Path:
    return fold / "metrics.jsonl"


def fold_lock(fold: Path) -> Path:
    """Held by the process that trains the fold."""
    return fold / ".train.lock"


def tensorboard_folder(fold: Path) -> Path:
    return fold / "tensorboard"


def last_checkpoint(fold: Path) -> Path:
    return fold / "last.pt"


def best_weights(fold: Path) -> Path:
    return fold / "best.safetensors"


def fold_done(fold: Path) -> Path:
    """Written last: what the finished fold scored."""
    return fold / "done.json"


def oof_table(fold: Path) -> Path:
    return fold / "oof.parquet"


def submission_folder(submissions: Path, name: str) -> Path:
    return submissions / name


def submission_file(submissions: Path, name: str, file: str) -> Path:
    """What is handed in; `file` is what its format calls it: submission.csv, .txt or .zip."""
    return submission_folder(submissions, name) / file


def ledger_table(submissions: Path) -> Path:
    return submissions / "ledger.csv"


def ledger_lock(submissions: Path) -> Path:
    """Held by the process that changes the ledger."""
    return submissions / ".ledger.lock"


def logits_table(submissions: Path, name: str) -> Path:
    return submission_folder(submissions, name) / "logits.parquet"


def scores_table(submissions: Path, name: str) -> Path:
    return submission_folder(submissions, name) / "scores.csv"


def parts_folder(submissions: Path, name: str) -> Path:
    """Logits of finished media, in parts, until all are there."""
    return submission_folder(submissions, name) / "parts"


def infer_lock(submissions: Path, name: str) -> Path:
    """Held by the process that infers under this name."""
    return submission_folder(submissions, name) / ".infer.lock"


def submission_config(submissions: Path, name: str) -> Path:
    return submission_folder(submissions, name) / "config.json"
