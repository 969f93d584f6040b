"""Pictures of what is said of files: frames are decoded again, as only those that are shown are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake.console import progress, say
from deepfake.files import replacing
from deepfake.pipeline.single import FilePredictor, Prediction, chance
from deepfake.tables import BOX

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from deepfake.media.crop_medium import CropSettings
    from deepfake.media.medium import Frame
    from deepfake.report.frames import Page, Place

MOST_FRAMES = 6  # of a video that are shown
FRAMES_OF_CROWDS = 2  # where a frame has more than CROWD faces, which need larger frames
CROWD = 4


def picture_names(paths: Sequence[str]) -> dict[str, str]:
    """A file name for the picture of each file, by path: its own name and .png, with a number where two share it."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for path in paths:
        own, number = Path(path).name, 1
        name = f"{own}.png"
        while name.lower() in taken:  # some disks do not tell capitals apart
            number += 1
            name = f"{own}_{number}.png"
        taken.add(name.lower())
        names[path] = name
    return names


def draw_pictures(folder: Path, by: FilePredictor, predictions: Sequence[Prediction]) -> None:
    """Write a picture below the folder for each file that could be read."""
    from deepfake.media.medium import UnreadableError
    from deepfake.report.frames import draw

    names = picture_names([one.path for one in predictions])
    seen = [one for one in predictions if one.faces is not None]
    with progress(len(seen), "predict", "pictures") as bar:
        for one in seen:
            try:
                _write_png(draw(_page(one, by)), folder / names[one.path])
            except UnreadableError as error:  # it could be read a moment ago
                say("predict", f"no picture of {one.path}: {error}")
            bar.update(1)


def _write_png(image_HWC: np.ndarray, path: Path) -> None:
    """Whole or not at all."""
    import cv2

    _, encoded = cv2.imencode(".png", image_HWC[..., ::-1])
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _page(one: Prediction, by: FilePredictor) -> Page:
    from deepfake.report.frames import Page, ShownFrame

    faces = one.faces
    assert faces is not None
    is_video = faces.frame_idx.nunique() > 1
    shown = []
    for frame in _frames(one.path, faces, by.cropper.settings):
        places = [_place(row) for row in faces[faces.frame_idx == frame.frame_idx].itertuples()]
        shown.append(ShownFrame(frame.image_HWC, places, f"{frame.pts_s:.2f} s" if is_video else ""))
    threshold, curves = chance(by.threshold), _curves(faces) if is_video else {}
    assert threshold is not None
    return Page(Path(one.path).name, _summary(one), shown, threshold, curves)


def _frames(path: str, faces: pd.DataFrame, settings: CropSettings) -> list[Frame]:
    """Some of the frames that were looked at, evenly spread. UnreadableError."""
    from deepfake.media.medium import spread_indices
    from deepfake.media.video import open_medium
    from deepfake.sources.tree import kind_of

    counts = faces.groupby("frame_idx", sort=True).size()
    numbers = counts.index.to_numpy("int64")
    shown = numbers[spread_indices(len(numbers), FRAMES_OF_CROWDS if counts.max() > CROWD else MOST_FRAMES)]
    medium = open_medium(Path(path), kind_of(path), settings.num_frames, settings.limits)
    medium.frame_idx = shown
    return [frame for frame in medium if frame.frame_idx in shown]


def _place(row: Any) -> Place:
    """A row of the faces table with its logit."""
    import numpy as np

    from deepfake.report.frames import Place

    box_xyxy = np.array([getattr(row, side) for side in BOX], float)
    return Place(box_xyxy, int(row.track_id), chance(float(row.logit)))


def _curves(faces: pd.DataFrame) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """track_id → times and P(fake) of each person, the largest first; nothing where no face was found."""
    from deepfake.score.pool import sigmoid

    tracks = faces[faces.found].sort_values("pts_s").groupby("track_id")
    return {int(number): (rows.pts_s.to_numpy(float), sigmoid(rows.logit.to_numpy())) for number, rows in tracks}


def _summary(one: Prediction) -> str:
    if one.error:
        return f"P(fake) {chance(one.logit):.3f}; {one.detail}"
    spread = f" (each fold alone: {chance(one.lowest):.3f} to {chance(one.highest):.3f})"
    spread = spread if one.lowest != one.highest else ""
    counts = ((one.people, "person", "people"), (one.num_faces, "face", "faces"), (one.num_frames, "frame", "frames"))
    told = ", ".join(f"{count} {single if count == 1 else more}" for count, single, more in counts if count)
    return f"{one.verdict}: P(fake) {chance(one.logit):.3f}{spread}; {told}"
