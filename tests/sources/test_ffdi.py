import pytest

from deepfake.errors import UserError
from deepfake.sources import read_dataset

IMAGES = "img_name,target\n"
VIDEOS = "video_name,target\n"


def test_train_and_val_are_to_train_on_and_testset_to_be_scored(plant, rows):
    texts = {
        "phase1/trainset_label.txt": IMAGES + "a.jpg,0\nb.jpg,1\n",
        "phase1/valset_label.txt": IMAGES + "c.jpg,1\n",
    }
    media = ("phase1/trainset/a.jpg", "phase1/trainset/b.jpg", "phase1/valset/c.jpg", "phase2/testset/d.jpg")
    reading = read_dataset(plant(*media, texts=texts))
    assert (reading.layout, reading.why) == ("ffdi", "phase1/trainset_label.txt is there")
    assert rows(reading) == [
        ("phase1/trainset/a.jpg", "train", 0, "real", "phase1/trainset/a.jpg", None),
        ("phase1/trainset/b.jpg", "train", 1, "fake", None, None),
        ("phase1/valset/c.jpg", "train", 1, "fake", None, None),
        ("phase2/testset/d.jpg", "test", None, None, None, None),
    ]


def test_images_and_videos_may_be_labelled_side_by_side(plant):
    texts = {"img/trainset_label.txt": IMAGES + "a.jpg,0\n", "vid/trainset_label.txt": VIDEOS + "a.mp4,1\n"}
    media = read_dataset(plant("img/trainset/a.jpg", "vid/trainset/a.mp4", texts=texts)).media
    assert list(media["kind"]) == ["image", "video"]
    assert list(media["label"]) == [0, 1]


@pytest.mark.parametrize("folder", ["train", "TrainSet/images", "phase1/Training", "pictures"])
def test_folders_may_be_called_and_nested_otherwise(plant, rows, folder):
    root = plant(f"{folder}/a.jpg", texts={"Trainset_Label.txt": IMAGES + "a.jpg,1\n"})
    assert [row[:3] for row in rows(read_dataset(root))] == [(f"{folder}/a.jpg", "train", 1)]


def test_the_same_name_in_two_phases_is_found_near_its_label_file(plant, rows):
    texts = {"p1/trainset_label.txt": IMAGES + "a.jpg,0\n", "p2/trainset_label.txt": IMAGES + "a.jpg,1\n"}
    reading = read_dataset(plant("p1/trainset/a.jpg", "p2/trainset/a.jpg", texts=texts))
    assert [row[2] for row in rows(reading)] == [0, 1]


def test_a_name_never_means_a_file_of_another_part(plant, faults):
    texts = {"trainset_label.txt": IMAGES + "a.jpg,0\nb.jpg,1\n"}
    reading = read_dataset(plant("trainset/b.jpg", "testset/a.jpg", texts=texts))
    assert list(reading.media["path"]) == ["testset/a.jpg", "trainset/b.jpg"]
    assert faults(reading) == [("a.jpg", "label_without_file")]


def test_val_without_a_label_file_is_to_be_scored_but_train_files_need_labels(plant, rows, faults):
    root = plant("trainset/a.jpg", "trainset/x.jpg", "valset/b.jpg", texts={"trainset_label.txt": IMAGES + "a.jpg,0\n"})
    reading = read_dataset(root)
    assert [row[:3] for row in rows(reading)] == [("trainset/a.jpg", "train", 0), ("valset/b.jpg", "test", None)]
    assert faults(reading) == [("trainset/x.jpg", "file_without_label")]


def test_lines_that_disagree_repeat_or_fit_two_files_are_counted(plant, rows, faults):
    lines = "two.jpg,0\ntwo.jpg,1\nsame.jpg,1\nsame.jpg,1\nmany.jpg,1\n"
    media = ("train/two.jpg", "train/same.jpg", "train/x/many.jpg", "train/y/many.jpg")
    reading = read_dataset(plant(*media, texts={"trainset_label.txt": IMAGES + lines}))
    assert [row[0] for row in rows(reading)] == ["train/same.jpg"]
    assert faults(reading) == [
        ("many.jpg", "ambiguous_name"),
        ("train/same.jpg", "listed_twice"),
        ("train/two.jpg", "two_labels"),
        ("train/x/many.jpg", "file_without_label"),
        ("train/y/many.jpg", "file_without_label"),
    ]


def test_a_label_file_without_a_target_is_refused(plant):
    root = plant("trainset/a.jpg", texts={"trainset_label.txt": "img_name,answer\na.jpg,0\n"})
    with pytest.raises(UserError, match="has no column label or target; its columns: img_name, answer"):
        read_dataset(root)
