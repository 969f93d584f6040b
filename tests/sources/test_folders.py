import pytest

from deepfake.sources import read_dataset


def test_class_folders_with_and_without_methods(plant, rows):
    reading = read_dataset(plant("real/FFHQ/a.jpg", "fake/b.jpg", "fake/StyleGAN/deep/c.jpg"))
    assert (reading.layout, reading.why) == ("folders", "fake/ holds fakes")
    assert rows(reading) == [
        ("fake/StyleGAN/deep/c.jpg", "train", 1, "StyleGAN", None, None),
        ("fake/b.jpg", "train", 1, "fake", None, None),
        ("real/FFHQ/a.jpg", "train", 0, "real", "real/FFHQ/a.jpg", None),
    ]


@pytest.mark.parametrize("name", ["0_real", "REAL", "Original", "originals", "genuine", "Ground Truth", "Celeb-real"])
def test_folders_of_reals_by_their_usual_names(plant, rows, name):
    assert rows(read_dataset(plant(f"{name}/a.mp4")))[0][2:4] == (0, "real")


@pytest.mark.parametrize("name", ["1_fake", "Fakes", "AI-Generated", "synthetic", "deepfakes", "Manipulated", "forged"])
def test_folders_of_fakes_by_their_usual_names(plant, rows, name):
    assert rows(read_dataset(plant(f"{name}/a.mp4")))[0][2:4] == (1, "fake")


def test_train_val_and_test_around_or_inside_the_classes(plant, rows):
    media = ("archive/Train/real/a.png", "valid/fake/b.png", "fake/test/GAN/c.png", "test/d.png", "test/real/e.png")
    assert [row[:4] for row in rows(read_dataset(plant(*media)))] == [
        ("archive/Train/real/a.png", "train", 0, "real"),
        ("fake/test/GAN/c.png", "test", 1, "GAN"),
        ("test/d.png", "test", None, None),
        ("test/real/e.png", "test", 0, "real"),
        ("valid/fake/b.png", "train", 1, "fake"),
    ]


def test_files_beside_the_classes_have_no_label(plant, rows, faults):
    reading = read_dataset(plant("real/a.png", "b.png", "train/c.png", "extras/d.png"))
    assert [row[0] for row in rows(reading)] == ["real/a.png"]
    assert faults(reading) == [
        ("b.png", "file_without_label"),
        ("extras/d.png", "file_without_label"),
        ("train/c.png", "file_without_label"),
    ]


def test_a_file_below_both_classes_has_two_labels_and_a_test_file_keeps_its_place(plant, rows, faults):
    reading = read_dataset(plant("fake/a.png", "deepfakes/real/b.png", "test/deepfakes/real/c.png"))
    assert [row[:3] for row in rows(reading)] == [
        ("fake/a.png", "train", 1),
        ("test/deepfakes/real/c.png", "test", None),
    ]
    assert faults(reading) == [("deepfakes/real/b.png", "two_labels"), ("test/deepfakes/real/c.png", "two_labels")]
