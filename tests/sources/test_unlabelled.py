"""Media without labels: a folder called test, or any folder when that is asked for."""

import pytest

from deepfake.errors import UserError
from deepfake.sources import read_dataset


@pytest.mark.parametrize("media", [("test/a.mp4", "test/b.png"), ("Test_Videos/a.mp4",)])
def test_a_test_folder_alone_is_read_as_test_media(plant, rows, media):
    reading = read_dataset(plant(*media))
    assert reading.layout == "unlabelled"
    assert rows(reading) == [(path, "test", None, None, None, None) for path in sorted(media)]


def test_any_folder_is_read_when_asked_for(plant, rows):
    root = plant("some/a.mp4", "other/b.mp4")
    with pytest.raises(UserError, match="no known layout"):
        read_dataset(root)
    reading = read_dataset(root, layout="unlabelled")
    assert [row[:2] for row in rows(reading)] == [("other/b.mp4", "test"), ("some/a.mp4", "test")]
