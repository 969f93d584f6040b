import pytest

from deepfake.errors import UserError
from deepfake.sources import read_dataset

MEDIA = (
    "Celeb-real/id0_0001.mp4",
    "Celeb-synthesis/id0_id1_0002.mp4",
    "YouTube-real/00017.mp4",
)


def test_people_are_sources_and_donors(plant, rows):
    reading = read_dataset(plant(*MEDIA))
    assert (reading.layout, reading.why) == ("celebdf", "Celeb-synthesis/ is there")
    assert rows(reading) == [
        ("Celeb-real/id0_0001.mp4", "train", 0, "real", "id0", None),
        ("Celeb-synthesis/id0_id1_0002.mp4", "train", 1, "fake", "id0", "id1"),
        ("YouTube-real/00017.mp4", "train", 0, "real", "youtube_00017", None),
    ]


def test_the_list_says_one_for_real_and_makes_the_test_split(plant, rows, faults):
    listed = "1 YouTube-real/00017.mp4\n0 Celeb-synthesis/id0_id1_0002.mp4\n\n1 Celeb-real/id9_0009.mp4\n"
    reading = read_dataset(plant(*MEDIA, texts={"List_of_testing_videos.txt": listed}))
    assert [row[1:3] for row in rows(reading)] == [("train", 0), ("test", 1), ("test", 0)]
    assert faults(reading) == [("Celeb-real/id9_0009.mp4", "label_without_file")]


def test_folders_in_another_case_below_a_wrapper_are_the_same(plant, rows):
    listed = "1 Youtube-real/00017.mp4\n"
    media = ("Celeb-DF-v2/YouTube-real/videos/00017.mp4", "Celeb-DF-v2/celeb_synthesis/videos/id0_id1_0002.mp4")
    reading = read_dataset(plant(*media, texts={"Celeb-DF-v2/List_of_testing_videos.txt": listed}))
    assert [row[1:3] for row in rows(reading)] == [("test", 0), ("train", 1)]


def test_a_listed_label_that_is_not_the_folders_is_counted(plant, rows, faults):
    reading = read_dataset(plant(*MEDIA, texts={"List_of_testing_videos.txt": f"0 {MEDIA[0]}\n"}))
    assert rows(reading)[0] == (MEDIA[0], "test", None, None, None, None)
    assert faults(reading) == [(MEDIA[0], "two_labels")]


def test_strays_and_unknown_names_are_counted(plant, faults):
    reading = read_dataset(plant(*MEDIA, "Celeb-real/holiday.mp4", "extra/id0_0001.mp4"))
    assert faults(reading) == [
        ("Celeb-real/holiday.mp4", "unknown_name"),
        ("extra/id0_0001.mp4", "file_without_label"),
    ]


@pytest.mark.parametrize("line", ["2 Celeb-real/id0_0001.mp4", "Celeb-real/id0_0001.mp4", "1 elsewhere/x.mp4", "1 a b"])
def test_a_line_of_another_form_is_refused(plant, line):
    root = plant(*MEDIA, texts={"List_of_testing_videos.txt": f"1 {MEDIA[0]}\n{line}\n"})
    with pytest.raises(UserError, match=r"line 2: .* is not like '1 Celeb-real/id0_0001\.mp4'"):
        read_dataset(root)
