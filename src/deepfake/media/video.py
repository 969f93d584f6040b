"""Wanted frames of a video or an image, one after another. An image is a one-frame video."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from deepfake.media.medium import Frame, Limits, Medium, UnreadableError, spread_indices
from deepfake.media.packets import Packets, Run
from deepfake.media.stills import Still
from deepfake.media.stream import FAULTS, Stream, count_frames, read_packets, words

_COLOUR_MATRICES = {0, 1, 2, 4, 5, 6, 7, 9}  # FFmpeg's numbers of those it converts; the rest is taken as BT.709


def open_medium(path: Path, kind: str, num_frames: int, limits: Limits) -> Medium:
    """`num_frames` evenly spread frames of a video or an animation, or the one frame of an image, ready to be decoded.

    kind: video or image, what the file claims to be; the other is tried where it is not. UnreadableError; MemoryError,
    here or later, where the machine has too little for a frame.
    """
    try:
        if not path.is_file():
            raise UnreadableError("missing", f"{path} is not there")
        if path.stat().st_size == 0:
            raise UnreadableError("empty", "the file has no bytes")
    except OSError as error:
        raise UnreadableError("missing", str(error)) from error
    claimed, other = (Footage, Still) if kind == "video" else (Still, Footage)
    try:
        return claimed(path, num_frames, limits)
    except UnreadableError as error:
        if error.error not in ("corrupt", "no_video_stream"):
            raise
        try:
            return other(path, num_frames, limits)
        except UnreadableError:
            raise error from None


class Footage(Medium):
    """Frames of a video.

    Where every packet has a time of its own, these times say which frames there are, and only what the wanted ones
    need is decoded. Elsewhere, and where that gives nothing, frames are counted by decoding them all.
    """

    def __init__(self, path: Path, num_frames: int, limits: Limits) -> None:
        """UnreadableError when the file is no video, or one beyond the limits."""
        self._path, self._num_wanted, self._limits = path, num_frames, limits
        self._stream: Stream | None = Stream(path, limits)  # kept for the first iteration: opening is a tenth of it
        self._packets = read_packets(self._stream, limits)
        self._lack = self._packets.lack if self._packets else ""
        if self._packets is None:
            self._count()
        else:
            self._spread_over(self._packets.num_frames)

    def __iter__(self) -> Iterator[Frame]:
        num_came = num_damaged = 0
        stream, self._stream = self._stream or Stream(self._path, self._limits), None
        pictures = self._counted(stream) if self._packets is None else self._timed(stream, self._packets)
        for number, pts_s, picture in pictures:
            image_HWC = self._upright(stream, picture)
            if image_HWC is not None:
                num_came += 1
                num_damaged += picture.is_corrupt
                yield Frame(image_HWC, number, pts_s)
        if num_came:
            self._note_down(stream, num_came, num_damaged)
        elif self._packets is None:
            raise UnreadableError("corrupt", stream.fault or "no frame decodes")
        else:
            self._count()
            yield from self

    def _count(self) -> None:
        self._stream = self._packets = None
        num_frames, self._is_timed = count_frames(Stream(self._path, self._limits), self._limits)
        self._spread_over(num_frames)

    def _spread_over(self, num_frames: int) -> None:
        self.num_frames = num_frames
        self.frame_idx = spread_indices(num_frames, self._num_wanted)

    def _timed(self, stream: Stream, packets: Packets) -> Iterator[tuple[int, float, av.VideoFrame]]:
        """(number, time in seconds, picture) of the wanted frames that come."""
        shown_pts = packets.shown_pts
        numbers = dict(zip(shown_pts[self.frame_idx].tolist(), self.frame_idx.tolist()))
        for run in packets.runs(list(numbers)):
            for picture in _pictures(stream, packets, run):
                yield numbers[picture.pts], (picture.pts - int(shown_pts[0])) * stream.tick_s, picture

    def _counted(self, stream: Stream) -> Iterator[tuple[int, float, av.VideoFrame]]:
        """As `_timed`, by decoding every frame up to the last wanted one."""
        wanted, first_pts = set(self.frame_idx.tolist()), 0
        for number, picture in enumerate(stream.decode(stream.packets())):
            if number == 0 and self._is_timed:
                first_pts = picture.pts
            if number in wanted:
                pts_s = (picture.pts - first_pts) * stream.tick_s if self._is_timed else number / stream.rate
                yield number, pts_s, picture
            if number == self.frame_idx[-1]:
                return

    def _upright(self, stream: Stream, picture: av.VideoFrame) -> np.ndarray | None:
        """RGB of a picture, None where it cannot be converted."""
        self._limits.check_size(picture.width, picture.height)
        try:
            return _turned(picture, _rgb(picture))
        except FAULTS as error:
            stream.fault = words(error)
            return None

    def _note_down(self, stream: Stream, num_came: int, num_damaged: int) -> None:
        notes = [self._lack] if self._lack else []
        if num_came < len(self.frame_idx):
            reason = f" ({stream.fault})" if stream.fault else ""
            notes.append(f"{num_came} of {len(self.frame_idx)} frames decode{reason}")
        if num_damaged:
            notes.append(f"{num_damaged} of {num_came} frames are damaged")
        self.note = "; ".join(notes)


def _pictures(stream: Stream, packets: Packets, run: Run) -> Iterator[av.VideoFrame]:
    """The wanted pictures of a run, rising in time.

    Where one is passed over, the run is begun anew a GOP earlier: at some keyframes pictures only start to mend.
    """
    waiting = list(run.wanted_pts)
    attempts = [run] if run.first == 0 else [run, packets.widened(run)]
    for attempt in attempts:
        for picture in stream.decode(stream.skim(attempt, set(waiting))):
            if picture.pts in waiting:
                if attempt is not attempts[-1] and picture.pts != waiting[0]:
                    break
                del waiting[: waiting.index(picture.pts) + 1]
                yield picture
        if not waiting:
            return


def _rgb(picture: av.VideoFrame) -> np.ndarray:
    """uint8 RGB as it is stored. Shape: (H, W, 3)."""
    matrix = None if picture.colorspace in _COLOUR_MATRICES else "ITU709"
    return picture.to_ndarray(format="rgb24", src_colorspace=matrix, threads=1)


def _turned(picture: av.VideoFrame, image_HWC: np.ndarray) -> np.ndarray:
    """The image turned and mirrored as the file asks. C-contiguous. Shape: (H, W, 3), or (W, H, 3)."""
    (x_to_x, x_to_y), (y_to_x, y_to_y) = _display_matrix(picture)
    if abs(x_to_y) > abs(x_to_x):
        image_HWC, x_to_x, y_to_y = image_HWC.swapaxes(0, 1), y_to_x, x_to_y
    return np.ascontiguousarray(image_HWC[:: -1 if y_to_y < 0 else 1, :: -1 if x_to_x < 0 else 1])


def _display_matrix(picture: av.VideoFrame) -> list[list[int]]:
    """How the stored x and y axes (rows) are mapped to those that are shown (columns), on any scale."""
    try:
        matrix = picture.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV 18 when a frame carries side data younger than itself: the turn is known nonetheless
        cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][round(picture.rotation / 90) % 4]
        return [[cosine, -sine], [sine, cosine]]
    return [[1, 0], [0, 1]] if matrix is None else np.frombuffer(matrix, np.int32).reshape(3, 3)[:2, :2].tolist()
