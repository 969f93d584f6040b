import pytest

from deepfake.errors import UserError
from deepfake.sources import read_dataset

YOUTUBE = "original_sequences/youtube/c23/videos"
ACTORS = "original_sequences/actors/c23/videos"
FAKES = "manipulated_sequences"
SCENE = "c23/videos/01_02__walking__ID7.mp4"


def test_targets_and_donors_of_swaps_reenactments_and_actors(plant, rows):
    root = plant(
        f"{YOUTUBE}/071.mp4",
        f"{ACTORS}/01__walking.mp4",
        f"{FAKES}/Face2Face/c23/videos/071_054.mp4",
        f"{FAKES}/DeepFakeDetection/{SCENE}",
    )
    reading = read_dataset(root)
    assert (reading.layout, reading.why) == ("faceforensics", "manipulated_sequences/ is there")
    assert rows(reading) == [
        (f"{FAKES}/DeepFakeDetection/{SCENE}", "train", 1, "DeepFakeDetection", "actor_01", "actor_02"),
        (f"{FAKES}/Face2Face/c23/videos/071_054.mp4", "train", 1, "Face2Face", "youtube_071", "youtube_054"),
        (f"{ACTORS}/01__walking.mp4", "train", 0, "real", "actor_01", None),
        (f"{YOUTUBE}/071.mp4", "train", 0, "real", "youtube_071", None),
    ]


def test_every_compression_and_the_frames_of_a_video_share_its_source(plant):
    media = [f"{FAKES}/Deepfakes/{level}/videos/000_003.mp4" for level in ("raw", "c23", "c40")]
    reading = read_dataset(plant(*media, f"{FAKES}/Deepfakes/c23/images/000_003/0001.png"))
    assert len(reading.media) == 4
    assert set(reading.media["source_id"]) == {"youtube_000"}
    assert set(reading.media["donor_id"]) == {"youtube_003"}


def test_a_wrapping_folder_changes_nothing_and_masks_are_no_media(plant, rows, faults):
    mask = f"FF/{FAKES}/Deepfakes/masks/videos/000_003.mp4"
    reading = read_dataset(plant(f"FF/{YOUTUBE}/000.mp4", f"FF/{FAKES}/Deepfakes/c23/videos/000_003.mp4", mask))
    assert [row[2:4] for row in rows(reading)] == [(1, "Deepfakes"), (0, "real")]
    assert faults(reading) == []


def test_splits_make_test_rows_with_their_labels(plant, rows):
    texts = {"splits/test.json": '[["000", "003"]]', "splits/train.json": '[["071", "054"]]'}
    media = (f"{YOUTUBE}/003.mp4", f"{YOUTUBE}/054.mp4", f"{FAKES}/Deepfakes/c23/videos/000_003.mp4")
    assert [row[1:3] for row in rows(read_dataset(plant(*media, texts=texts)))] == [
        ("test", 1),
        ("test", 0),
        ("train", 0),
    ]


def test_what_is_misplaced_or_misnamed_is_counted(plant, faults):
    reading = read_dataset(plant(f"{YOUTUBE}/000.mp4", f"{YOUTUBE}/interview.mp4", "stray.mp4"))
    assert faults(reading) == [(f"{YOUTUBE}/interview.mp4", "unknown_name"), ("stray.mp4", "file_without_label")]


@pytest.mark.parametrize("text", ['{"000": "003"}', '["000"]', "[["])
def test_a_malformed_split_is_refused(plant, text):
    with pytest.raises(UserError, match=r"splits/test\.json is not"):
        read_dataset(plant(f"{YOUTUBE}/000.mp4", texts={"splits/test.json": text}))
