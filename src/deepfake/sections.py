"""The sections of the configuration: every knob with its type, default, range and line of help; those that shape a
training alone are in training_sections.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deepfake.knobs import knob
from deepfake.tables import VIEW_NAMES


def _layouts() -> list[str]:
    from deepfake.sources import LAYOUTS

    return ["auto", *LAYOUTS]


def _formats() -> list[str]:
    from deepfake.score.formats import FORMATS

    return list(FORMATS)


@dataclass(frozen=True)
class PathsConfig:
    data: Path = knob(Path("data"), "derived tables and crops, a folder for each data set", shapes=False)
    folds: Path = knob(Path("folds"), "splits", shapes=False)
    runs: Path = knob(Path("runs"), "trained folds", shapes=False)
    submissions: Path = knob(Path("submissions"), "submissions", shapes=False)


@dataclass(frozen=True)
class DataConfig:
    root: str = knob("", "folder with the raw media, never written to; empty = the built-in demo set")
    name: str = knob("", "name of the data set; empty = the root folder's own name")
    layout: str = knob("auto", "how the folder is laid out; auto recognises it", choices=_layouts)
    listing: str = knob("", "CSV with a path column (and label, method, source_id, donor_id, split), paths below root")
    max_contradictions: float = knob(
        0.01, "share of media whose label and file contradict each other above which index stops", low=0, high=1
    )


@dataclass(frozen=True)
class CropConfig:
    mode: Literal["faces", "whole"] = knob("faces", "faces, or whole pictures for AI-generated media without faces")
    align: Literal["box", "similarity"] = knob("box", "square around the box, or five landmarks moved to fixed places")
    margin: float = knob(0.3, "widening on each side, as a share of the box's longer side", low=0, high=3)
    size: int = knob(256, "side of a stored crop, px; mode=whole: longest side, 0 = as it is", low=0, high=4096)
    format: Literal["png", "webp_lossless", "jpeg"] = knob("png", "file format of the crops; jpeg is lossy")
    quality: int = knob(95, "JPEG quality, where format=jpeg", low=1, high=100)


@dataclass(frozen=True)
class ExtractConfig:
    num_frames: int = knob(16, "frames of a video, evenly spread", low=1)
    detect_size: int = knob(640, "longest side of the frame that the detector sees, px; 0 = as it is", low=0)
    min_face: int = knob(24, "smallest face that is searched, px at detection size", low=12)
    min_prob: float = knob(0.9, "faces of a lower detector probability are dropped", low=0, high=1)
    search_every: int = knob(
        16, "one sampled frame in so many is searched in full; through the others faces are followed", low=1
    )
    faces: Literal["all", "largest", "top2"] = knob("all", "people of a video to keep, by the area of their faces")
    min_track: float = knob(0.1, "people seen in a smaller share of the sampled frames are dropped", low=0, high=1)
    min_track_prob: float = knob(0.95, "people whose surest face has a lower probability are dropped", low=0, high=1)
    reuse_boxes: bool = knob(False, "crop training fakes at their original's faces, if number, size and looks agree")
    batch_mpx: float = knob(
        0.0, "megapixels of frames that a process searches at once, 0 = as suits CPU or GPU", low=0, shapes=False
    )
    max_megapixels: float = knob(100.0, "larger frames are refused (0 = none); see retry", low=0, shapes=False)
    max_minutes: float = knob(60.0, "longer videos are refused (0 = none); see retry", low=0, shapes=False)
    split: Literal["all", "train", "test"] = knob(
        "all", "the media to crop; run_infer.sh crops the test split alone", shapes=False
    )
    timeout_s: int = knob(120, "a medium that takes longer is given up, s", low=1, shapes=False)
    retry: Literal["none", "problems"] = knob(
        "none", "problems: try again what could not be read, after a repair or with other limits", shapes=False
    )


@dataclass(frozen=True)
class FoldsConfig:
    num_folds: int = knob(5, "number of folds", low=2)
    seed: int = knob(0, "seed of the split, apart from that of training", low=0, high=2**32 - 1)
    group_donors: bool = knob(True, "keep a fake together with the donor of its face, not with its original alone")


@dataclass(frozen=True)
class ForgeConfig:
    steps: int = knob(600, "steps for which each small autoencoder is trained on the data set's reals; 0 = none", low=0)
    vae: list[str] = knob(
        [], "autoencoders of diffusers (AutoencoderKL) that reconstruct the reals too: folders, or names on its hub"
    )


@dataclass(frozen=True)
class BlendConfig:
    metric: Literal["log_loss", "auc", "ap", "accuracy", "macro_f1"] = knob(
        "log_loss", "what the blend is to be good at, of media"
    )


@dataclass(frozen=True)
class InferConfig:
    batch_size: int = knob(64, "crops in a step", low=1, shapes=False)
    tta: list[str] = knob(
        ["identity", "hflip"],
        f"test-time views whose logits are averaged: {', '.join(VIEW_NAMES)}; or auto = those that pay, chosen by the "
        "out-of-fold logits of a run that was trained with infer.tta=auto too",
    )
    budget_minutes: float = knob(
        0.0,
        "time that inference has, from the start of the command; it does less for each medium then; 0 = no limit",
        low=0,
        shapes=False,
    )
    compile: bool = knob(False, "compile the models by torch.compile", shapes=False)
    sample_submission: str = knob("", "CSV that gives rows and column names; empty = sample_submission.csv in the root")


@dataclass(frozen=True)
class EvaluateConfig:
    detector: str = knob(
        "",
        "a Python file with predict(path) → probability of fake, evaluated instead of a run; model=FILE.py for short",
        shapes=False,
    )
    robustness: bool = knob(
        False, "score damaged crops too: JPEG, blur, resizing, noise, H.264; twelve more inferences", shapes=False
    )


@dataclass(frozen=True)
class SubmitConfig:
    format: str = knob(
        "csv", "what the competition wants to be handed in: see docs/submitting.md", shapes=False, choices=_formats
    )
    threshold: float = knob(
        0.5, "P(fake) from which a medium is called fake, where labels are wanted", low=0, high=1, shapes=False
    )
    to: Literal["file", "kaggle"] = knob("file", "kaggle: hand the file in, by the kaggle command line", shapes=False)
    competition: str = knob("", "for submit.to=kaggle: its name, the last part of its address", shapes=False)
    message: str = knob("", "for submit.to=kaggle: what stands beside it there; empty = name, sha256", shapes=False)
