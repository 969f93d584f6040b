"""Tables of text."""

from deepfake.report.table import aligned


def test_columns_have_one_width_and_end_where_they_should():
    assert aligned(["file", "P"], [["a.png", "0.5"], ["b", "10.5"]], [False, True]) == "\n".join(
        ["file      P", "a.png   0.5", "b      10.5"]
    )


def test_wide_letters_take_two_columns_and_none_moves_the_cursor():
    assert aligned(["f", "P"], [["你", "1"], ["a\n\x1b", "2"]], [False, True]) == "f    P\n你   1\na??  2"
