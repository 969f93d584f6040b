"""An evaluation as people read it: tables on the screen and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

COUNTS = {"reals": "d", "fakes": "d"}
AUC = {"auc": ".3f", "interval": "s"}
BY_METHOD = {  # columns and how they are written
    **{"method": "s", **COUNTS, **AUC, "ap": ".3f", "accuracy": ".3f"},
    **{"tpr_1": ".3f", "eer": ".3f", "log_loss": ".3f", "calibration_error": ".3f", "surely_wrong": ".3f"},
}
PART = {**COUNTS, **AUC, "accuracy": ".3f", "log_loss": ".3f", "surely_wrong": ".3f"}
BY_PART = {"part": "s", "on": "s", **PART}
BY_CONDITION = {"condition": "s", **PART, "flipped": ".3f", "to_fake": ".3f"}
RANKED = {"path": "s", "method": "s", "logit": "+.2f", "prob_fake": ".3f"}


@dataclass(frozen=True)
class Block:
    """A table with its title."""

    title: str
    header: list[str]
    rows: list[list[str]]
    is_text: list[bool]
    """Of each column: aligned at the left."""

    def on_screen(self) -> str:
        """Aligned columns below the title."""
        from deepfake.report.table import aligned

        return f"\n{self.title}\n{aligned(self.header, self.rows, [not text for text in self.is_text])}"

    def markdown(self) -> str:
        """A section with a table."""
        rule = ["---" if text else "---:" for text in self.is_text]
        rows = [[cell.replace("|", r"\|") for cell in row] for row in self.rows]
        lines = ["| " + " | ".join(line) + " |" for line in (self.header, rule, *rows)]
        return "\n".join([f"## {self.title}", "", *lines])


def block(title: str, table: pd.DataFrame, shown: dict[str, str]) -> Block:
    """The columns of a table that people read. shown: column → how it is written; `interval` is made of two."""
    rows = [[_cell(row, name, form) for name, form in shown.items()] for row in table.to_dict("records")]
    return Block(title, list(shown), rows, [form == "s" for form in shown.values()])


def auc_by_source(name: str, table: pd.DataFrame) -> Block:
    """AUC with a column for each source of reals and a row for each method, by what evaluation.by_real_source gives."""
    wide = table.pivot(index="method", columns="part", values="auc")
    methods = wide.drop(index="all").mean(axis=1).sort_values(kind="stable").index
    rows = [[method, *(f"{auc:.3f}" for auc in wide.loc[method])] for method in ("all", *methods)]
    title = f"AUC of each method (rows) against the reals of each source (columns), {name}"
    return Block(title, ["method", *wide.columns], rows, [True, *[False] * len(wide.columns)])


def flips(table: pd.DataFrame) -> str:
    """What a table of conditions says, in a line."""
    worst = table.iloc[1:].nlargest(1, "flipped").iloc[0]
    return f"most verdicts flip under {worst.condition}: {100 * worst.flipped:.1f} %"


def as_text(title: str, blocks: Sequence[Block]) -> str:
    """A page of Markdown."""
    return "\n\n".join([f"# {title}", *(one.markdown() for one in blocks)]) + "\n"


def _cell(row: dict[str, Any], name: str, form: str) -> str:
    import pandas as pd

    if name == "interval":
        return "" if pd.isna(row["auc"]) else f"{row['auc_low']:.3f} to {row['auc_high']:.3f}"
    return "" if pd.isna(row[name]) else format(row[name], form)
