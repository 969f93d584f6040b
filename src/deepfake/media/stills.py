"""Images and animations, read with Pillow."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from deepfake.errors import raised_within
from deepfake.media.medium import Frame, Limits, Medium, UnreadableError, spread_indices

# Others that Pillow opens are no photos, open by guesswork, or start another program (Ghostscript).
_FORMATS = {"AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP"}
_ANIMATIONS = {"AVIF", "GIF", "PNG", "WEBP"}  # further pictures of a TIFF are pages, those of an MPO other views
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Still(Medium):
    """The one frame of an image, or frames of an animation."""

    def __init__(self, path: Path, num_frames: int, limits: Limits) -> None:
        """UnreadableError when the file is no image, or one beyond the limits."""
        self._path = path
        with _translated(), Image.open(path) as image:
            if image.format not in _FORMATS:
                raise UnreadableError("corrupt", f"{image.format} is no format of photos")
            limits.check_size(*image.size)
            self.num_frames = max(1, image.n_frames) if image.format in _ANIMATIONS else 1
        self.frame_idx = spread_indices(self.num_frames, num_frames)

    def __iter__(self) -> Iterator[Frame]:
        with _translated():
            image = Image.open(self._path)
        with image:
            num_came, self.note = 0, ""
            try:
                for frame in self._decode(image):
                    num_came += 1
                    yield frame
            except UnreadableError as error:
                if not num_came:
                    raise
                self.note = f"{num_came} of {len(self.frame_idx)} frames decode: {error.detail}"

    def _decode(self, image: Image.Image) -> Iterator[Frame]:
        """The wanted frames up to the first that is damaged: each is drawn over those before. UnreadableError."""
        wanted, pts_s = set(self.frame_idx.tolist()), 0.0
        for number in range(self.frame_idx[-1] + 1):
            with _translated():
                if self.num_frames > 1:
                    image.seek(number)
                image.load()
                image_HWC = _rgb(_upright(image)) if number in wanted else None
            if image_HWC is not None:
                yield Frame(image_HWC, number, pts_s)
            pts_s += image.info.get("duration", 0) / 1000


@contextmanager
def _translated() -> Iterator[None]:
    """Pillow's errors as UnreadableError, its warnings not at all; of too many pixels we speak ourselves."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        if not _is_of_the_file(error):
            raise
        raise UnreadableError("corrupt", str(error) or type(error).__name__) from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _is_of_the_file(error: Exception) -> bool:
    """Whether Pillow tripped over the file; not a mistake of ours, nor a lack of memory, which is the machine's."""
    return raised_within(error, "PIL") and not isinstance(error, MemoryError)


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF data ask; damaged EXIF data ask for nothing."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception as error:
        if not _is_of_the_file(error):
            raise
        return image
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _rgb(image: Image.Image) -> np.ndarray:
    """uint8 RGB, C-contiguous; deep grey is brought to 8 bits, which convert() would cut off at 255.

    Shape: (H, W, 3).
    """
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(_eight_bits(np.asarray(image)))
    return np.array(image.convert("RGB"))


def _eight_bits(grey_HW: np.ndarray) -> np.ndarray:
    """Grey of any depth as uint8, by the smallest usual range that holds it: 16 bits; for fractions also 0 to 1 or 255.

    Shape: that of the input.
    """
    ranges = (65535,) if grey_HW.dtype.kind in "iu" else (1, 255, 65535)
    values = np.nan_to_num(grey_HW.astype(np.float64), posinf=0, neginf=0).clip(0)
    white = next((top for top in ranges if values.max() <= top), values.max())
    return (values * (255 / white)).round().astype(np.uint8)
