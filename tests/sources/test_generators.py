from deepfake.sources import read_dataset


def test_the_generator_is_the_method_with_and_without_classes(plant, rows):
    root = plant("biggan/0_real/1.png", "biggan/1_fake/1.png", "cyclegan/horse/1_fake/2.png")
    reading = read_dataset(root)
    assert (reading.layout, reading.why) == ("generators", "0_real/ or 1_fake/ lies below biggan/")
    assert rows(reading) == [
        ("biggan/0_real/1.png", "train", 0, "real", "biggan/0_real/1.png", None),
        ("biggan/1_fake/1.png", "train", 1, "biggan", None, None),
        ("cyclegan/horse/1_fake/2.png", "train", 1, "cyclegan", None, None),
    ]


def test_parts_are_not_generators_and_test_keeps_its_labels(plant, rows):
    media = ("test/stargan/1_fake/3.png", "train/progan/cat/1_fake/1.png", "val/progan/cat/0_real/2.png")
    assert [row[1:4] for row in rows(read_dataset(plant(*media)))] == [
        ("test", 1, "stargan"),
        ("train", 1, "progan"),
        ("train", 0, "real"),
    ]


def test_pictures_beside_the_generators_are_counted_or_to_be_scored(plant, rows, faults):
    reading = read_dataset(plant("real.png", "crn/1_fake/1.png", "test/unknown.png"))
    assert [row[:3] for row in rows(reading)] == [("crn/1_fake/1.png", "train", 1), ("test/unknown.png", "test", None)]
    assert faults(reading) == [("real.png", "file_without_label")]


def test_a_generator_called_deepfake_is_no_folder_of_fakes(plant, rows):
    assert [row[2] for row in rows(read_dataset(plant("deepfake/0_real/1.png", "deepfake/1_fake/1.png")))] == [0, 1]


def test_class_folders_without_a_generator_are_read_as_folders(plant):
    assert read_dataset(plant("0_real/1.png", "train/1_fake/1.png")).layout == "folders"
