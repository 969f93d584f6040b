"""The picture of one prediction: a medium's frames with each face's probability, and the score over time."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from deepfake.report.labels import GAP, place_labels

DPI = 100
FRAMES_WH = (1920, 1160)  # px that all frames fill together, at most
MOST_ENLARGED = 3.0  # small frames are enlarged so that labels fit, by this factor at most
LEAST_WIDTH = 960  # px of the picture
MARGIN, CAPTION, TITLE, CURVES = 16, 26, 84, 320  # px: around everything; heights above a frame, of the title, the plot
LABEL = 17  # px: size of letters beside faces, smaller where faces are small
LETTER = 0.64  # width of a figure or a wide small letter of the typeface, as a share of its size
MOST_LINES = 8  # people with a colour and a name of their own in the plot
# Blue, amber and red are told apart by those who see no green, and stand out against skin and sky.
COLOURS = np.array([[0.10, 0.38, 0.78], [0.10, 0.70, 0.62], [0.98, 0.74, 0.10], [0.84, 0.08, 0.10]])
COLOUR_PLACES = (0.0, 0.5, 1.0, 2.0)  # of each colour: 1 is the threshold, 2 is certainly fake
PEOPLE = ("#1f77b4", "#d95f02", "#2ca02c", "#7b3fa0", "#8c564b", "#e7298a", "#17a2b8", "#666600")

Pair = tuple[float, float]  # x and y, or width and height
Rgb = tuple[float, float, float]  # 0..1


@dataclass(frozen=True)
class Place:
    """A crop's place in a frame."""

    box_xyxy: np.ndarray
    """px of the frame."""
    track_id: int
    prob: float | None
    """P(fake); None = no face was found here."""


@dataclass(frozen=True)
class ShownFrame:
    """A frame in the picture."""

    image_HWC: np.ndarray
    """uint8 RGB."""
    places: list[Place]
    caption: str = ""
    """Stands above the frame; "" = none."""


@dataclass(frozen=True)
class Page:
    """What a picture says."""

    title: str
    summary: str
    """Title and summary are the two lines at the top."""
    frames: list[ShownFrame]
    """One at least."""
    threshold: float
    """The P(fake) from which a medium is fake."""
    curves: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    """Of each person in a video, the most visible first: track_id → (times in s, P(fake)), both of shape (N,)."""


def draw(page: Page) -> np.ndarray:
    """The picture of a page, uint8 RGB. Shape: (H, W, 3)."""
    columns, scale = _arrange([frame.image_HWC.shape[:2] for frame in page.frames])
    cell_w = round(scale * max(frame.image_HWC.shape[1] for frame in page.frames))
    cell_h = round(scale * max(frame.image_HWC.shape[0] for frame in page.frames))
    caption = CAPTION if any(frame.caption for frame in page.frames) else 0
    rows = -(-len(page.frames) // columns)
    width = max(LEAST_WIDTH, columns * (cell_w + MARGIN) + MARGIN)
    frames_bottom = TITLE + rows * (cell_h + caption + MARGIN)
    height = frames_bottom + (CURVES if page.curves else 0)
    figure = Figure((width / DPI, height / DPI), dpi=DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    _write_title(figure, page, width, height)
    left = (width - columns * (cell_w + MARGIN) + MARGIN) / 2
    letters = _letter_size(page.frames, scale)
    for number, frame in enumerate(page.frames):
        row, column = divmod(number, columns)
        x, y = left + column * (cell_w + MARGIN), TITLE + row * (cell_h + caption + MARGIN) + caption
        axes = _draw_frame(figure, frame, scale, (round(x), y), (width, height))
        _draw_places(axes, frame, page, scale, letters)
    if page.curves:
        # Room for tick labels and axis titles on the left and below, for the names of people on the right.
        _draw_curves(_axes(figure, (80, frames_bottom + 8), (width - 80 - 190, CURVES - 70), (width, height)), page)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in letters that the typeface lacks
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def score_colour(prob: float | None, threshold: float) -> Rgb:
    """RGB, 0 to 1: blue at 0, over green to amber at the threshold, red at 1; grey for None."""
    if prob is None:
        return 0.45, 0.45, 0.45
    place = float(np.interp(prob, [0.0, threshold, 1.0], [0.0, 1.0, 2.0]))
    red, green, blue = (float(np.interp(place, COLOUR_PLACES, channel)) for channel in COLOURS.T)
    return red, green, blue


def _arrange(sizes_hw: Sequence[tuple[int, int]]) -> tuple[int, float]:
    """The number of columns, and the scale of all frames, that make the frames largest."""
    height, width = np.max(sizes_hw, axis=0)
    best = (1, 0.0)
    for columns in range(1, len(sizes_hw) + 1):
        rows = -(-len(sizes_hw) // columns)
        scale = min(FRAMES_WH[0] / columns / width, FRAMES_WH[1] / rows / height, MOST_ENLARGED)
        best = max(best, (columns, float(scale)), key=lambda pair: (pair[1], pair[0]))  # wide rather than high
    return best


def _axes(figure: Figure, corner: Pair, size: Pair, whole: Pair) -> Axes:
    """Axes at px from the picture's upper left corner."""
    (x, y), (width, height) = corner, size
    return figure.add_axes((x / whole[0], 1 - (y + height) / whole[1], width / whole[0], height / whole[1]))


def _points(pixels: float) -> float:
    return pixels * 72 / DPI


def _write_title(figure: Figure, page: Page, width: int, height: int) -> None:
    lines = ((page.title, 22, "bold", 16), (page.summary, 18, "normal", 48))
    for text, size, weight, top in lines:
        most = int((width - 2 * MARGIN) / (size * LETTER))
        figure.text(
            MARGIN / width, 1 - top / height, _shortened(text, most), va="top", fontsize=_points(size),
            fontweight=weight, parse_math=False,
        )  # fmt: skip


def _shortened(text: str, most: int) -> str:
    """`text` with at most `most` letters: longer text loses its middle."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    kept = max(0, most - 1)
    return text if len(text) <= most else f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"


def _draw_frame(figure: Figure, frame: ShownFrame, scale: float, corner: Pair, whole: Pair) -> Axes:
    """Draw a frame at a place of the picture, and give its axes, whose coordinates are px of the picture."""
    height, width = (max(1, round(scale * side)) for side in frame.image_HWC.shape[:2])
    resize = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    axes = _axes(figure, corner, (width, height), whole)
    image_HWC = cv2.resize(frame.image_HWC, (width, height), interpolation=resize)
    axes.imshow(image_HWC, extent=(0, width, height, 0), interpolation="none", aspect="auto")
    axes.set_axis_off()
    axes.set_autoscale_on(False)
    if frame.caption:
        axes.text(0, -5, frame.caption, va="bottom", fontsize=_points(15), parse_math=False)
    return axes


def _draw_places(axes: Axes, frame: ShownFrame, page: Page, scale: float, letters: float) -> None:
    """Draw all boxes, then all labels over them."""
    width, height = axes.get_xlim()[1], axes.get_ylim()[0]
    boxes = [_within(place.box_xyxy * scale, width, height) for place in frame.places]
    texts = [_label(place, len(page.curves) > 1) for place in frame.places]
    colours = [score_colour(place.prob, page.threshold) for place in frame.places]
    sizes = [(len(text) * letters * LETTER + 8, letters * 1.35) for text in texts]
    corners = place_labels(boxes, sizes, (width, height))
    for place, box, colour in zip(frame.places, boxes, colours, strict=True):
        _draw_box(axes, box, colour, found=place.prob is not None)
    for box, at, size, colour in zip(boxes, corners, sizes, colours, strict=True):
        _draw_leader(axes, box, at, size, colour)
    for text, at, size, colour in zip(texts, corners, sizes, colours, strict=True):
        _draw_label(axes, text, at, size, letters=letters, colour=colour)


def _within(box_xyxy: np.ndarray, width: float, height: float) -> np.ndarray:
    """The part of a box that can be seen, its line included."""
    return np.clip(box_xyxy, 2, [width - 2, height - 2, width - 2, height - 2])


def _letter_size(frames: Sequence[ShownFrame], scale: float) -> float:
    """Size in px of the letters beside faces: a third of the median face where a frame shows several."""
    sides = [scale * (place.box_xyxy[2] - place.box_xyxy[0]) for frame in frames for place in frame.places]
    crowded = any(len(frame.places) > 1 for frame in frames)
    return float(np.clip(np.median(sides) / 3, 12, LABEL)) if crowded else LABEL


def _label(place: Place, several: bool) -> str:
    if place.prob is None:
        return "no face"
    return f"{place.track_id + 1}: {place.prob:.2f}" if several else f"{place.prob:.2f}"


def _draw_box(axes: Axes, box_xyxy: np.ndarray, colour: Rgb, *, found: bool) -> None:
    left, top = box_xyxy[:2].tolist()
    width, height = (box_xyxy[2:] - box_xyxy[:2]).tolist()
    style = "-" if found else "--"
    for line, shade in ((5, "black"), (3, colour)):  # a dark edge: seen on any ground
        edge = _points(line)
        axes.add_patch(Rectangle((left, top), width, height, fill=False, lw=edge, edgecolor=shade, linestyle=style))


def _draw_leader(axes: Axes, box_xyxy: np.ndarray, at: Pair, size: Pair, colour: Rgb) -> None:
    """Draw a line to the box from a label that lies away from it."""
    low, high = np.array(at), np.array(at) + size
    on_box = np.clip((low + high) / 2, box_xyxy[:2], box_xyxy[2:])
    ends = np.array([np.clip(on_box, low, high), on_box])
    if np.abs(ends[1] - ends[0]).max() > 2 * GAP:
        for line, shade in ((3.5, "black"), (2, colour)):
            axes.plot(*ends.T, color=shade, linewidth=_points(line), solid_capstyle="butt", zorder=3)


def _draw_label(axes: Axes, text: str, at: Pair, size: Pair, *, letters: float, colour: Rgb) -> None:
    """Draw a plate of that size (px) in the face's colour, with letters that stand out against it."""
    is_light = float(np.dot(colour, [0.30, 0.59, 0.11])) > 0.5
    axes.add_patch(Rectangle(at, *size, facecolor=colour, edgecolor="black", linewidth=_points(1), zorder=4))
    axes.text(
        at[0] + size[0] / 2, at[1] + size[1] / 2, text, ha="center", va="center_baseline",
        fontsize=_points(letters), color="black" if is_light else "white", parse_math=False, zorder=5,
    )  # fmt: skip


def _draw_curves(axes: Axes, page: Page) -> None:
    """Draw P(fake) of each person over time. The first few people have colours, the rest are grey."""
    alone = len(page.curves) == 1
    for number, (track_id, (times_s, probs)) in enumerate(page.curves.items()):
        named = number < MOST_LINES
        rest = "" if number > MOST_LINES else f"{len(page.curves) - MOST_LINES} more"
        axes.plot(
            times_s, probs, marker="o", markersize=5 if named else 3, linewidth=2 if named else 1,
            color=PEOPLE[number] if named else "#b0b0b0", zorder=3 if named else 2,
            label=("score" if alone else f"person {track_id + 1}" if named else rest) or None,
        )  # fmt: skip
    axes.axhline(page.threshold, color="black", linestyle="--", linewidth=1, label=f"fake from {page.threshold:.2f}")
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("time, s", fontsize=_points(16))
    axes.set_ylabel("P(fake)", fontsize=_points(16))
    axes.tick_params(labelsize=_points(14))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(1.005, 1.05), frameon=False, fontsize=_points(14))
