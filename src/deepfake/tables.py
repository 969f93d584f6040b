"""The contracts between commands: every table, its key and its columns."""

from __future__ import annotations

from deepfake.contract import Column, Table

LANDMARKS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
BOX = ("x0", "y0", "x1", "y1")
LANDMARK_COLUMNS = tuple(f"{point}_{axis}" for point in LANDMARKS for axis in "xy")
FACE_KEY = ("media_id", "frame_idx", "face_idx")
VIEW_NAMES = ("identity", "hflip", "vflip", "rot90", "scale_down", "scale_up", "five_crop", "jpeg")  # test-time views
FRONT_NAMES = ("rgb", "npr", "srm", "median", "spectrum")  # what a model may see of a picture
FORGERIES = ("self_blend", "swap", "upsample", "reconstruct")  # fakes that training makes from reals

_FACE_KEY_COLUMNS = {
    "media_id": Column("string", "the medium, as in the media table"),
    "frame_idx": Column("int32", "number of the frame in the video, from 0; 0 for an image"),
    "face_idx": Column("int32", "number of the face in the frame, from 0, most certain first"),
}
_SEEN_COLUMNS = {
    "found": Column("bool", "as in the faces table"),
    "track_id": Column("int32", "as in the faces table"),
    "prob": Column("float32", "as in the faces table", nullable=True),
    "side": Column("float32", "square root of the box's area, px of the frame"),
    "sharpness": Column("float32", "as in the faces table"),
}
_LABEL = Column("Int8", "0 real, 1 fake, empty = unknown", nullable=True)
_METHOD = Column("string", "generator or manipulation, 'real' for reals", nullable=True)

MEDIA = Table(
    "media",
    "every video and image of a data set",
    ("media_id",),
    {
        "media_id": Column("string", "the medium's name in this data set: its path below the raw root"),
        "dataset": Column("string", "name of the data set"),
        "kind": Column("string", "video or image", allowed=("video", "image")),
        "path": Column("string", "file, below the raw root"),
        "split": Column("string", "train or test", allowed=("train", "test")),
        "label": _LABEL,
        "method": _METHOD,
        "source_id": Column("string", "the original (or person) it comes from", nullable=True),
        "donor_id": Column("string", "the original (or person) whose face was put in", nullable=True),
        "fingerprint": Column(
            "string", "sha256 of the file's size, first and last 64 KiB: tells whether it has changed"
        ),
        "content_id": Column("string", "sha256 of the file where another has its fingerprint", nullable=True),
    },
)

FACES = Table(
    "faces",
    "every crop: one row a face, or a centre square where no face was found",
    FACE_KEY,
    _FACE_KEY_COLUMNS
    | {
        "track_id": Column(
            "int32", "whose face it is in this medium, from 0, the largest first; 0 without a detection"
        ),
        "found": Column("bool", "a face was found here (or a whole picture was asked for); false = centre square"),
        "prob": Column("float32", "the detector's probability; empty without a detection", nullable=True),
        "x0": Column("float32", "box, left, px of the upright frame, before the margin"),
        "y0": Column("float32", "box, top"),
        "x1": Column("float32", "box, right"),
        "y1": Column("float32", "box, bottom"),
    }
    | {
        name: Column("float32", f"landmark {name[:-2].replace('_', ' ')}, {name[-1]}, px of the frame", nullable=True)
        for name in LANDMARK_COLUMNS
    }
    | {
        "pts_s": Column("float32", "time of the frame, seconds from the start"),
        "sharpness": Column("float32", "log2(1 + variance of the Laplacian) of the grey crop shrunk to 64 px"),
        "path": Column("string", "file of the crop, below the data set's folder"),
    },
)

EXTRACTED = Table(
    "extracted",
    "every medium that was cropped: what was in it and what was done",
    ("media_id",),
    {
        "media_id": Column("string", "the medium, as in the media table"),
        "width": Column("int32", "of the upright frame, px"),
        "height": Column("int32", "of the upright frame, px"),
        "num_frames": Column("int32", "frames in the file"),
        "frames_read": Column("int32", "frames that were wanted and could be decoded"),
        "boxes": Column(
            "string",
            "where crops lie: at faces that the detector found, or the original's; centre squares; whole frames",
            allowed=("detector", "original", "centre", "whole"),
        ),
        "original": Column("string", "the medium whose boxes were taken", nullable=True),
        "tracks": Column("int32", "people: tracks of faces that were kept"),
        "tracks_dropped": Column("int32", "tracks that were dropped as false finds"),
        "note": Column("string", "what is wrong with the file though it was cropped", nullable=True),
    },
)

FOLDS = Table(
    "folds",
    "the split: which fold validates a medium",
    ("media_id",),
    {
        "media_id": Column("string", "the medium, as in the media table"),
        "group_id": Column("string", "media that must stay together share it"),
        "label": Column("Int8", "0 real, 1 fake"),
        "method": _METHOD,
        "fold": Column("int16", "the fold that validates on it, from 0"),
    },
)

FORGED = Table(
    "forged",
    "reconstructions of the training's real crops, one row each",
    FACE_KEY,
    _FACE_KEY_COLUMNS
    | {
        "coder": Column("string", "the autoencoder that made it"),
        "path": Column("string", "file of the reconstruction, below the data set's folder"),
    },
)

OOF = Table(
    "out-of-fold",
    "a trained fold's logits of the media it did not see",
    (*FACE_KEY, "view"),
    _FACE_KEY_COLUMNS
    | {
        "view": Column("string", "test-time view, as in infer.tta"),
    }
    | _SEEN_COLUMNS
    | {
        "label": Column("Int8", "0 real, 1 fake"),
        "logit": Column("float32", "log-odds of fake"),
    },
)

HELD_OUT = Table(
    "held-out",
    "what a fold was validated by, where that is not simply its media of the split",
    ("media_id",),
    FOLDS.columns
    | {
        "made_from": Column(
            "string", "the real that a fake was made from for validation; empty = given", nullable=True
        ),
        "unseen": Column("bool", "of a method, or a source of reals, that the fold was trained without"),
    },
)

FALLBACKS = ("no_face", "unreadable", "late")

LOGITS = Table(
    "logits",
    "every logit behind a submission",
    (*FACE_KEY, "run", "fold", "view"),
    _FACE_KEY_COLUMNS
    | {
        "run": Column("string", "name of the run; empty: the row of a medium that gets a fallback logit instead"),
        "fold": Column("string", "fold of the run whose model spoke: 0, 1, …, full"),
        "view": Column("string", "test-time view, as in infer.tta"),
    }
    | _SEEN_COLUMNS
    | {
        "logit": Column("float32", "log-odds of fake"),
        "fallback": Column(
            "string",
            "why no model speaks for the medium: no_face, unreadable or late",
            nullable=True,
            allowed=FALLBACKS,
        ),
    },
)

SCORES = Table(
    "scores",
    "what is submitted: one logit a medium, after pooling and blending",
    ("media_id",),
    {
        "media_id": Column("string", "the medium, as in the media table"),
        "logit": Column("float64", "log-odds of fake"),
        "fallback": Column("string", "as in the logits table", nullable=True, allowed=FALLBACKS),
        "crops": Column("int32", "crops behind it; 0 for a fallback"),
        "frames": Column("int32", "frames behind it"),
    },
)

PROBLEMS = Table(
    "problems",
    "what failed, and why",
    ("media_id",),
    {
        "media_id": Column("string", "the medium, as in the media table"),
        "error": Column("string", "kind of failure"),
        "detail": Column("string", "what was said about it", nullable=True),
    },
)

LEDGER = Table(
    "ledger",
    "every submission that was written, in the order of writing",
    ("name", "sha256"),
    {
        "name": Column("string", "name of the submission: its folder"),
        "runs": Column("string", "the runs whose models speak in it, with commas between"),
        "config_sha256": Column(
            "string", "sha256 of what shaped it: settings, weights, blend, fallback logits, views, media"
        ),
        "git_commit": Column("string", "commit of the code, empty outside a checkout", nullable=True),
        "cv_metric": Column("string", "what cv is: log_loss, auc, …", nullable=True),
        "cv": Column(
            "float64",
            "out-of-fold score on media with a face, nested where anything was chosen; empty = not known",
            nullable=True,
        ),
        "sha256": Column("string", "of the file that is handed in"),
        "rows": Column("int64", "media in it"),
        "format": Column("string", "submit.format of the file"),
        "created": Column("string", "time of the first writing, UTC, ISO 8601"),
        "public": Column("float64", "the public board's score, as entered", nullable=True),
        "private": Column("float64", "the private board's score, as entered", nullable=True),
    },
)

TABLES = (MEDIA, FACES, EXTRACTED, FOLDS, OOF, HELD_OUT, LOGITS, SCORES, PROBLEMS, LEDGER)


def dictionary() -> str:
    """The data dictionary: every table and column, as Markdown."""
    blocks = []
    for table in TABLES:
        head = f"**{table.name}**: {table.about}; key {', '.join(table.key)}"
        lines = [head, "", "| column | type | what |", "|---|---|---|"]
        lines += [f"| {name} | {column.dtype} | {column.about} |" for name, column in table.columns.items()]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"
