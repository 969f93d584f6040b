"""Which crops are aligned pairs."""

import pandas as pd

from deepfake.learn.pairs import aligned_twins


def crops(*rows):
    """rows: (media_id, label, source_id, frame_idx, x0), boxes of 100 px; found unless a sixth value says not."""
    names = ["media_id", "label", "source_id", "frame_idx", "x0", "found"]
    table = pd.DataFrame([(*row, True)[:6] for row in rows], columns=names)
    table = table.astype({"source_id": "string", "label": "Int8", "x0": "float32", "frame_idx": "int32"})
    return table.assign(y0=table.x0 / 2, x1=table.x0 + 100, y1=table.x0 / 2 + 100)


def test_a_fakes_twin_is_the_same_place_of_the_same_frame_of_its_source():
    table = crops(
        ("r", 0, "r", 0, 10.0),
        ("r", 0, "r", 8, 20.0),
        ("f", 1, "r", 8, 20.0),
        ("f", 1, "r", 0, 10.0),
        ("f", 1, "r", 16, 30.0),  # a frame that the real has not
        ("f", 1, "r", 8, 200.0),  # another face
        ("g", 1, "s", 0, 10.0),  # of another source
    )
    assert aligned_twins(table).tolist() == [-1, -1, 1, 0, -1, -1, -1]


def test_boxes_may_lie_half_a_pixel_apart_on_either_side_of_a_pixels_edge():
    near = [("f", 1, "r", 0, x0) for x0 in (9.5, 9.9, 10.4, 9.4, 10.6, 8.0, 12.0)]
    assert aligned_twins(crops(("r", 0, "r", 0, 10.0), *near)).tolist() == [-1, 0, 0, 0, -1, -1, -1, -1]


def test_every_side_of_the_box_counts():
    table = crops(*[("r", 0, "r", 0, 10.0), *[("f", 1, "r", 0, 10.0)] * 4])
    for row, side in enumerate(["x0", "y0", "x1", "y1"], 1):
        table.loc[row, side] += 3
    assert aligned_twins(table).tolist() == [-1] * 5


def test_of_several_twins_it_is_the_first():
    table = crops(("f", 1, "p", 0, 10.0), ("b", 0, "p", 0, 10.3), ("a", 0, "p", 0, 10.0), ("c", 0, "p", 0, 10.3))
    assert aligned_twins(table).tolist() == [1, -1, -1, -1]


def test_crops_without_a_known_source_or_a_face_have_no_twin():
    table = crops(
        ("r", 0, None, 0, 10.0),
        ("f", 1, None, 0, 10.0),
        ("s", 0, "s", 0, 10.0, False),
        ("g", 1, "s", 0, 10.0),
        ("t", 0, "t", 0, 10.0),
        ("h", 1, "t", 0, 10.0, False),
    )
    assert aligned_twins(table).tolist() == [-1] * 6


def test_rows_are_numbered_from_the_top_whatever_the_index():
    table = crops(("r", 0, "r", 0, 10.0), ("f", 1, "r", 0, 10.0)).set_axis([70, 30])
    assert aligned_twins(table).tolist() == [-1, 0]


def test_without_fakes_or_reals_there_are_no_twins():
    assert aligned_twins(crops(("r", 0, "r", 0, 1.0))).tolist() == [-1]
    assert aligned_twins(crops(("f", 1, "r", 0, 1.0))).tolist() == [-1]
    assert aligned_twins(crops(("f", 1, "r", 0, 1.0))[:0]).tolist() == []


def test_many_pictures_of_one_source_take_no_product_of_all_with_all():
    many = 20_000  # 20,000² pairs would need tens of gigabytes
    table = pd.DataFrame({"label": [0, 1] * many, "source_id": "group", "frame_idx": 0, "found": True})
    table["x0"] = [float(number // 2 * 3) for number in range(2 * many)]
    table = table.assign(y0=0.0, x1=table.x0 + 100, y1=100.0)
    twins = aligned_twins(table)
    assert (twins[::2] == -1).all()
    assert (twins[1::2] == range(0, 2 * many, 2)).all()
