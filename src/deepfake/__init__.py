"""From a folder of videos and images to a deepfake-detection submission.csv.

From Python: `load(run)` gives a model that predicts, and each command is a function of keywords, as in
`deepfake.train(fold=0, **{"data.root": "/data/my_videos"})`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepfake.model import load as load

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`load`, and a function for each command; found when they are first asked for, so that importing stays light."""
    if name == "load":
        from deepfake.model import load

        return load
    if not name.startswith("_"):
        from deepfake.commands import as_function, names

        if name in names():
            return as_function(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    from deepfake.commands import names

    return sorted([*globals(), "load", *names()])
