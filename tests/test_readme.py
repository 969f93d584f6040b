"""What the README prints of the code is what the code says."""

from pipeline import REPOSITORY

from deepfake.configure import presets
from deepfake.score.formats import FORMATS
from deepfake.sources import LAYOUTS
from deepfake.tables import dictionary

README = (REPOSITORY / "README.md").read_text()


def test_the_data_dictionary_is_that_of_the_tables():
    assert dictionary() in README, "put what `deepfake.tables.dictionary()` gives under Contracts"


def test_every_layout_is_listed_with_what_it_looks_for():
    for name, layout in LAYOUTS.items():
        assert f"| `{name}` | {layout.about} |" in README


def test_every_submission_format_is_listed_with_what_it_is_for_its_file_and_its_metric():
    for name, form in FORMATS.items():
        (row,) = [line for line in README.splitlines() if line.startswith(f"| `{name}` | {form.about} |")]
        assert f"`{form.file}`" in row and row.endswith(f"| {form.metric} |")
        assert form.columns is None or f"`{','.join(form.columns)}`" in row


def test_every_preset_is_listed_and_says_how_it_is_run():
    assert presets()
    for name, path in presets().items():
        assert f"| `{name}` |" in README
        assert path.read_text().startswith("# ./run_")
