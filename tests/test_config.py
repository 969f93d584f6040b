"""The configuration: what goes before what, what is refused, and what a run is continued with."""

import json
import os
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

import deepfake
from deepfake.arguments import as_arguments, as_options, continue_run, help_text, load_config, presets
from deepfake.config import Config, known_knobs
from deepfake.errors import UserError
from deepfake.knobs import knobs, resolved, shaping

OWN = "data.root=/raw/faces"  # with data of one's own no preset is read


def value_of(config, key):
    return {one.key: one.value for one in knobs(config)}[key]


@pytest.fixture
def preset(tmp_path):
    """`preset("optim: {lr: 1}")` writes a preset and gives its path."""

    def write(text):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return path

    return write


# --- precedence


def test_without_arguments_it_is_the_demo_preset():
    assert load_config([]).preset == "demo"
    assert load_config([]).model.name != load_config([OWN]).model.name == Config().model.name


def test_the_command_line_goes_before_the_preset_before_the_defaults(preset):
    path = preset("optim:\n  lr: 0.5\n  weight_decay: 0.25\n")
    config = load_config([f"preset={path}", "optim.lr=0.125"])
    assert (config.optim.lr, config.optim.weight_decay, config.optim.warmup) == (0.125, 0.25, 0.1)


def test_the_order_of_preset_and_keys_does_not_matter(preset):
    path = preset("optim: {lr: 0.5}")
    assert load_config(["optim.lr=0.125", f"preset={path}"]).optim.lr == 0.125


def test_the_last_of_two_values_counts():
    assert load_config([OWN, "seed=1", "seed=2"]).seed == 2


def test_the_configuration_is_frozen():
    with pytest.raises(FrozenInstanceError):
        Config().optim.lr = 1.0


# --- values and types


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("optim.lr=3e-4", 3e-4),
        ("optim.lr=1", 1.0),
        ("train.epochs=7", 7),
        ("model.pretrained=false", False),
        ("model.pretrained=no", False),
        ("augment.jpeg_quality_range=[50,90]", (50, 90)),
        ("model.mean=[0.5,0.25,5e-1]", (0.5, 0.25, 0.5)),
        ("infer.tta=[hflip]", ["hflip"]),
        ("infer.tta=hflip", ["hflip"]),
        ("infer.tta=[identity,jpeg]", ["identity", "jpeg"]),
        ("infer.tta=auto", ["auto"]),
        ("runs=a", ["a"]),
        ("runs=007", ["007"]),
        ("runs=2024-05-01", ["2024-05-01"]),
        ("paths.data=/big disk/data", Path("/big disk/data")),
        ("crop.align=similarity", "similarity"),
        ("fold=3", "3"),
        ("model.kwargs={img_size: 64}", {"img_size": 64}),
        ("model.kwargs.pad_type=same", {"pad_type": "same"}),
        ("model.kwargs.norm_eps=1e-3", {"norm_eps": 0.001}),
    ],
)
def test_a_value_has_the_type_of_its_knob(argument, value):
    key = argument.split("=")[0]
    loaded = value_of(load_config([OWN, argument]), "model.kwargs" if key.startswith("model.kwargs") else key)
    assert loaded == value
    assert type(loaded) is type(value) or isinstance(value, Path)


@pytest.mark.parametrize("text", ["001", "1.50", "true", "null", "1_000", "1e5", "2E3"])
def test_text_stays_as_it_was_written(text):
    assert load_config([OWN, f"name={text}"]).name == text


def test_text_may_hold_an_equals_sign():
    assert load_config(["data.root=/raw/a=b"]).data.root == "/raw/a=b"


def test_two_arguments_of_the_model_are_both_kept():
    assert load_config([OWN, "model.kwargs.a=1", "model.kwargs.b=x"]).model.kwargs == {"a": 1, "b": "x"}


@pytest.mark.parametrize(
    ("argument", "allowed"),
    [
        ("train.epochs=2.5", "allowed: int"),
        ("train.epochs=", "allowed: int"),
        ("seed=true", "allowed: int"),
        ("optim.lr=fast", "allowed: float"),
        ("model.pretrained=maybe", "allowed: bool"),
        ("crop.align=boxx", r"expected one of .*; allowed: box\|similarity"),
        ("infer.tta=", r"allowed: list\[str\]"),
        ("infer.tta={hflip: 1}", r"allowed: list\[str\]"),
        ("augment.jpeg_quality_range=[1,2,3]", r"allowed: tuple\[int, int\]"),
        ("model.kwargs=5", "allowed: dict"),
    ],
)
def test_another_type_is_refused_with_what_is_allowed(argument, allowed):
    with pytest.raises(UserError, match=allowed) as caught:
        load_config([OWN, argument])
    assert str(caught.value).startswith(argument.split("=")[0])


@pytest.mark.parametrize(
    ("argument", "allowed"),
    [
        ("optim.lr=-1", "0 or more"),
        ("optim.lr=.nan", "0 or more"),
        ("optim.lr=.inf", "0 or more"),
        ("train.epochs=0", "1 or more"),
        ("folds.num_folds=1", "2 or more"),
        ("extract.min_prob=1.5", "0 to 1"),
        ("augment.jpeg_quality_range=[0,90]", "1 to 100"),
        ("augment.jpeg_quality_range=[90,60]", "the first must not be above the second"),
        ("model.std=[0.5]", "none, or three"),
        ("crop.size=8", "16 to 4096 with crop.mode=faces"),
        (
            "model.front=ela",
            r"model\.front=ela; allowed: rgb, npr, srm, median, spectrum, or several, each once, joined",
        ),
        ("model.front=rgb+rgb", r"model\.front=rgb\+rgb; allowed: .* each once"),
        ("model.windows=10", r"model\.windows=10; allowed: 1 to 9"),
        ("infer.tta=[]", r"infer\.tta=\[\]; allowed: one or more of identity, .*jpeg, each once; or auto alone"),
        ("infer.tta=[hflip,hflip]", r"infer\.tta=\[hflip,hflip\]; allowed: .* each once"),
        ("infer.tta=flip", r"infer\.tta=\[flip\]; allowed: .*hflip, vflip, rot90, scale_down, scale_up, five_crop"),
        ("infer.tta=[identity,auto]", "auto alone"),
        ("infer.tta=[auto,auto]", "auto alone"),
        ("fold=some", "a number from 0, all, or full"),
        ("fold=-1", "a number from 0, all, or full"),
        ("name=a/b", "it names a folder"),
        ("data.name=../x", "it names a folder"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_range(argument, allowed):
    with pytest.raises(UserError, match=allowed):
        load_config([OWN, argument])


@pytest.mark.parametrize("argument", ["crop.margin=0", "crop.margin=3", "crop.size=16", "extract.min_prob=1"])
def test_the_ends_of_a_range_belong_to_it(argument):
    key, _, text = argument.partition("=")
    assert value_of(load_config([OWN, argument]), key) == float(text)


def test_whole_pictures_may_keep_their_size():
    assert load_config([OWN, "crop.mode=whole", "crop.size=0"]).crop.size == 0


# --- unknown keys, presets


@pytest.mark.parametrize(
    ("argument", "nearest"),
    [("optim.lrr=1", "optim.lr"), ("lr=1", "optim.lr"), ("epoch=3", "train.epochs"), ("sed=1", "seed")],
)
def test_an_unknown_key_is_refused_with_the_nearest(argument, nearest):
    with pytest.raises(UserError, match=f"unknown key .* Did you mean '{nearest}'"):
        load_config([OWN, argument])


def test_a_word_without_a_value_is_refused():
    with pytest.raises(UserError, match="'fast' is not key=value"):
        load_config([OWN, "fast"])


def test_an_unknown_preset_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"preset=dmo is not known; there are .*demo.*Did you mean 'demo'"):
        load_config(["preset=dmo"])


@pytest.mark.parametrize("name", presets())
def test_every_preset_that_comes_along_loads(name):
    assert load_config([f"preset={name}"]).preset == name


def test_presets_are_read_from_any_path(preset):
    config = load_config([f"preset={preset('crop: {size: 64}')}", OWN])
    assert (config.crop.size, config.run) == (64, "faces-mine")


def test_a_preset_may_give_arguments_of_the_model(preset):
    assert load_config([f"preset={preset('model: {kwargs: {pad_type: same}}')}"]).model.kwargs == {"pad_type": "same"}


def test_a_bare_word_is_a_list_of_one_in_a_preset_too(preset):
    assert load_config([f"preset={preset('infer: {tta: auto}')}"]).infer.tta == ["auto"]


def test_numbers_without_a_point_are_numbers_in_a_preset_too(preset):
    assert load_config([f"preset={preset('optim: {lr: 3e-4}')}"]).optim.lr == 3e-4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optim: [1", r"mine\.yaml is not YAML"),
        ("- optim", "a tree of keys and values, not list"),
        ("", "a tree of keys and values, not NoneType"),
        ("optim: {lrr: 1}", r"unknown key 'optim\.lrr' in preset .*mine\.yaml\. Did you mean 'optim\.lr'"),
        ("optim: {lr: fast}", r"optim\.lr=fast \(in preset .*mine\.yaml\)"),
        ("optim: 3", "unknown key 'optim' in preset"),
    ],
)
def test_a_faulty_preset_is_one_clear_line(preset, text, message):
    with pytest.raises(UserError, match=message) as caught:
        load_config([f"preset={preset(text)}"])
    assert "\n" not in str(caught.value)


def test_a_preset_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "mine.yaml").write_bytes("# größer\nseed: 1".encode("latin-1"))
    with pytest.raises(UserError, match=r"mine\.yaml is not YAML"):
        load_config([f"preset={tmp_path / 'mine.yaml'}"])


def test_a_preset_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not known"):
        load_config([f"preset={tmp_path / 'gone.yaml'}"])


# --- names


@pytest.mark.parametrize(
    ("arguments", "dataset", "run"),
    [
        ([], "demo", "demo"),
        (["data.root=/raw/faces"], "faces", "faces"),
        (["data.root=/raw/faces/"], "faces", "faces"),
        (["data.root=/raw/faces", "preset=demo"], "faces", "faces-demo"),
        (["data.root=/raw/faces", "data.name=f2"], "f2", "f2"),
        (["data.listing=/raw/mine.csv"], "mine", "mine"),
        (["data.root=/raw/faces", "name=r1"], "faces", "r1"),
    ],
)
def test_data_set_and_run_are_named_after_what_they_come_from(arguments, dataset, run):
    config = load_config(arguments)
    assert (config.dataset, config.run) == (dataset, run)


def test_a_folder_with_a_dot_in_its_name_keeps_it():
    assert load_config(["data.root=/raw/celeb.v2"]).dataset == "celeb.v2"


# --- what shapes results


def test_what_shapes_results_leaves_out_what_does_not():
    config = load_config([OWN, "train.epochs=5", "infer.batch_size=3"])
    assert shaping(config, "infer") == {"infer": {"tta": ["identity", "hflip"], "sample_submission": ""}}
    assert not {"timeout_s", "split", "retry", "max_minutes"} & shaping(config, "extract")["extract"].keys()
    assert shaping(config, "paths", "num_workers", "name") == {}


def test_what_shapes_results_may_be_a_single_key():
    assert shaping(Config(), "seed", "optim.lr") == {"seed": 0, "optim": {"lr": 3e-4}}


def test_the_resolved_configuration_survives_json_and_loads_again():
    config = load_config([OWN, "model.mean=[0.5,0.5,0.5]", "model.kwargs.a=1", "paths.data=/d"])
    values = json.loads(json.dumps(resolved(config)))
    assert values == resolved(config)
    assert values["paths"]["data"] == "/d"
    again = continue_run(config.run, values, [])
    assert (again.model, again.optim, again.data) == (config.model, config.optim, config.data)


def test_a_configuration_can_be_written_as_arguments_and_read_again():
    """As several processes that train together are given it."""
    own = ["model.kwargs.a=1", "train.phases=[{trains: head, epochs: 1}, {trains: all}]", "name=1e3", "crop.size=256"]
    for arguments in ([], [OWN, *own, "infer.tta=auto", "runs=[a,007]"], ["preset=cpu_small", OWN, "crop.size=256"]):
        config = load_config(arguments)
        assert load_config(as_arguments(config)) == config


def test_keywords_are_arguments_whether_dotted_or_nested():
    values = {"fold": 0, "data.root": Path("/raw/a b"), "train": {"epochs": 3}, "infer.tta": ["hflip"], "public": None}
    assert as_options(values) == [
        "fold=0", "data.root=/raw/a b", "train.epochs=3", 'infer.tta=["hflip"]',
    ]  # fmt: skip
    assert load_config(as_options(values)).train.epochs == 3
    words = as_options({"infer.tta": "auto", "runs": "a", "train.amp": False, "input": ["a.mp4", "b c.jpg"]})
    assert words == ["infer.tta=auto", "runs=a", "train.amp=off", "input=a.mp4\nb c.jpg"]


# --- going on with a run


@pytest.fixture
def saved():
    """What a run was trained with."""
    own = ["name=r", "fold=1", "paths.data=/d", "seed=5", "folds.num_folds=3", "optim.lr=0.5", "model.kwargs.a=1"]
    return resolved(load_config([OWN, "num_workers=2", "infer.batch_size=8", *own]))


def test_a_run_goes_on_with_its_own_settings_but_not_its_places(saved):
    config = continue_run("moved", saved, ["infer.batch_size=16"])
    assert (config.optim.lr, config.seed, config.model.kwargs, config.data.root) == (0.5, 5, {"a": 1}, "/raw/faces")
    assert (config.paths, config.fold, config.num_workers, config.name) == (Config().paths, "all", -1, "moved")
    assert config.infer.batch_size == 16


def test_a_run_goes_on_with_its_own_number_of_folds(saved):
    assert continue_run("r", saved, []).folds.num_folds == 3


@pytest.mark.parametrize("key", ["data.root=/raw/other", "data.listing=/raw/other.csv"])
def test_other_data_leaves_nothing_of_the_trained_data(saved, key):
    saved["data"]["name"] = "faces"
    config = continue_run("r", saved, [key])
    assert (config.dataset, config.optim.lr) == ("other", 0.5)


@pytest.mark.parametrize(
    ("argument", "trained"),
    [("optim.lr=0.25", "0.5"), ("crop.margin=1", "0.3"), ("model.name=resnet18", "tf_eff"), ("train.epochs=2", "10")],
)
def test_what_a_run_was_trained_with_cannot_be_changed(saved, argument, trained):
    key = argument.partition("=")[0]
    with pytest.raises(UserError, match=rf"{key}=.*, but run r was trained with {trained}.*: leave it out"):
        continue_run("r", saved, [argument])


@pytest.mark.parametrize("argument", ["optim.lr=5e-1", "crop.margin=0.30", "model.mean=[]", "model.kwargs={a: 1}"])
def test_what_a_run_was_trained_with_may_be_said_again(saved, argument):
    assert continue_run("r", saved, [argument]).optim.lr == 0.5


def test_an_argument_of_the_model_may_be_said_again_but_not_changed(saved):
    assert continue_run("r", saved, ["model.kwargs.a=1"]).model.kwargs == {"a": 1}
    with pytest.raises(UserError, match=r"model\.kwargs\.a=2, but run r was trained with 1"):
        continue_run("r", saved, ["model.kwargs.a=2"])


# --- help


def test_help_has_a_line_for_every_knob_with_type_default_and_words():
    known = known_knobs()
    lines = help_text(tuple(known)).splitlines()
    assert [line.split("=")[0].strip() for line in lines] == list(known)
    assert all(one.about and one.about in line for line, one in zip(lines, known.values(), strict=True))


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("optim.lr", ["optim.lr=0.0003", "float"]),
        ("crop.align", ["crop.align=box", "box|similarity"]),
        ("model.pretrained", ["model.pretrained=true", "bool"]),
        ("data.layout", ["data.layout=auto", "auto|listing|dfdc"]),
        ("infer.tta", ['infer.tta=["identity", "hflip"]', "list[str]"]),
        ("paths.data", ["paths.data=data", "Path"]),
    ],
)
def test_a_line_of_help_shows_default_and_type(key, parts):
    (line,) = help_text((key,)).splitlines()
    assert all(part in line for part in parts)


def test_help_of_a_section_has_no_other():
    assert {line.split(".")[0].strip() for line in help_text(("optim",)).splitlines()} == {"optim"}


ASK_FOR_HELP = """
import runpy, sys
sys.argv = ["deepfake", "train", "--help"]
try:
    runpy.run_module("deepfake", run_name="__main__")
except SystemExit as end:
    assert end.code == 0, end.code
print("heavy:", sorted({"torch", "pandas", "omegaconf", "cv2", "timm"} & sys.modules.keys()))
"""


def test_help_answers_without_loading_what_is_heavy():
    source = str(Path(deepfake.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", ASK_FOR_HELP],
        env=os.environ | {"PYTHONPATH": source},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "optim.lr=0.0003" in done.stdout
    assert done.stdout.splitlines()[-1] == "heavy: []"
