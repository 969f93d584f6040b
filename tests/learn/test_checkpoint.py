"""Checkpoints: what is saved is what is loaded, and everything else is refused."""

import copy
import functools
import io
import json
import math
import pickle
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from torch import nn

import deepfake
from deepfake.errors import UserError
from deepfake.learn.checkpoint import (
    load_detector,
    load_state,
    save_detector,
    save_state,
)
from deepfake.learn.golden import golden_images, golden_logits
from deepfake.learn.metadata import metadata_path, read_metadata
from deepfake.learn.models import build_detector, resolve_spec
from deepfake.learn.starting_weights import load_weights

IMAGES = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def certain(name="test_efficientnet", seed=0, **given):
    """A detector whose logits are several units large, as after training."""
    torch.manual_seed(seed)
    detector = build_detector(resolve_spec(name, image_size=64, **given)).eval()
    head = detector.backbone.get_classifier()
    with torch.no_grad():
        head.weight *= 5 / detector(golden_images(64)).std()
    return detector


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A detector and the path of its weights, neither to be changed."""
    detector, path = certain(), tmp_path_factory.mktemp("made") / "best.safetensors"
    save_detector(path, detector, {"dataset": "demo", "prior_logit": 0.5})
    return detector, path


@pytest.fixture
def saved(made, tmp_path):
    """A saved detector, not to be changed, and the path of weights of its own."""
    detector, path = made
    for file in path.parent.iterdir():
        shutil.copy(file, tmp_path)
    return detector, tmp_path / path.name


def rewrite(path, **changes):
    """Change what the JSON beside a weight file says."""
    metadata_path(path).write_text(json.dumps(read_metadata(path) | changes))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
def test_a_loaded_detector_gives_the_very_logits(tmp_path, name):
    detector = build_detector(resolve_spec(name, image_size=64, mean=(0.1, 0.2, 0.3), resize=False)).eval()
    save_detector(tmp_path / "best.safetensors", detector, {})
    loaded = load_detector(tmp_path / "best.safetensors")
    assert not loaded.training
    with torch.inference_mode():
        assert torch.equal(loaded(IMAGES), detector(IMAGES))
    assert loaded.spec == detector.spec


def test_metadata_lies_beside_the_weights(saved):
    _, path = saved
    assert metadata_path(path) == path.with_name("best.json")
    metadata = read_metadata(path)
    assert (metadata["dataset"], metadata["prior_logit"]) == ("demo", 0.5)
    assert metadata["model"]["name"] == "test_efficientnet"
    assert set(metadata["versions"]) == {"timm", "torch"}
    assert len(metadata["golden"]) == 4
    assert {file.name for file in path.parent.iterdir()} == {"best.json", "best.safetensors"}


def test_reading_metadata_does_not_wait_for_torch():
    code = "import deepfake.learn.metadata, sys; assert not {'torch', 'timm', 'numpy'} & sys.modules.keys()"
    source = Path(deepfake.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=source, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("content", ["", "[]", "{", "3"])
def test_damaged_metadata_is_a_users_error(saved, content):
    _, path = saved
    metadata_path(path).write_text(content)
    with pytest.raises(UserError, match=r"best\.json is missing or damaged: remove .*, train it again"):
        read_metadata(path)


def test_saving_and_loading_leave_the_detector_and_chance_alone(tmp_path):
    detector = certain("test_resnet", drop_rate=0.5).train().to(memory_format=torch.channels_last)
    before, stream = copy.deepcopy(detector.state_dict()), torch.get_rng_state()
    save_detector(tmp_path / "best.safetensors", detector, {})
    load_detector(tmp_path / "best.safetensors")
    assert torch.equal(torch.get_rng_state(), stream)
    assert detector.training and detector.backbone.training
    assert detector.backbone.conv1[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())


def test_a_compiled_detector_is_saved_like_any_other(saved):
    detector, path = saved
    compiled = torch.compile(detector, backend="eager")
    compiled(IMAGES)
    save_detector(path.with_name("compiled.safetensors"), compiled, {})
    assert path.with_name("compiled.safetensors").read_bytes() == path.read_bytes()
    assert read_metadata(path.with_name("compiled.safetensors"))["golden"] == read_metadata(path)["golden"]


@pytest.mark.parametrize("name", ["best.safetensors", "best.json"])
def test_a_missing_file_is_a_users_error(saved, name):
    _, path = saved
    path.with_name(name).unlink()
    with pytest.raises(UserError, match=r"best\.safetensors cannot be loaded"):
        load_detector(path)


@pytest.mark.parametrize("name", ["best.safetensors", "best.json"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"[]", b'{"model": {}}', b"\xff\xfe"])
def test_a_foreign_file_is_a_users_error(saved, name, content):
    _, path = saved
    path.with_name(name).write_bytes(content)
    with pytest.raises(UserError, match=r"best\.safetensors cannot be loaded"):
        load_detector(path)


@pytest.mark.parametrize("change", [{"name": "test_vit"}, {"name": "nothing"}, {"kwargs": {"colour": 1}}, {"size": 3}])
def test_weights_of_another_model_are_a_users_error(saved, change):
    _, path = saved
    metadata = read_metadata(path)
    metadata_path(path).write_text(json.dumps(metadata | {"model": metadata["model"] | change}))
    with pytest.raises(UserError):
        load_detector(path)


def test_a_missing_fact_is_a_users_error(saved):
    _, path = saved
    metadata = read_metadata(path)
    for key in ("golden", "model", "versions"):
        metadata_path(path).write_text(json.dumps({name: value for name, value in metadata.items() if name != key}))
        with pytest.raises(UserError, match=rf"best\.json has no '{key}', it is damaged .* train it again"):
            load_detector(path)


# --- golden logits


def test_golden_images_are_the_same_whole_numbers_everywhere():
    images = golden_images(8)
    assert (images.shape, images.dtype) == ((4, 3, 8, 8), torch.uint8)
    assert images[0, 0, 0].tolist() == [0, 31, 63, 95, 127, 159, 191, 223]  # 255 x / 8
    assert images[1, 0, 0].tolist() == [8 * x * x % 256 for x in range(8)]
    assert images[2, 0, 0].tolist() == [0, 0, 0, 255, 255, 255, 0, 0]
    assert images[3, :, 4, 4].tolist() == [210, 160, 130]


@pytest.mark.parametrize("size", [1, 2, 7, 64, 381])
def test_golden_images_are_there_for_every_size(size):
    assert golden_images(size).shape == (4, 3, size, size)


def test_golden_images_have_all_of_the_range_and_strong_borders():
    images = golden_images(64).float()
    assert images.std((2, 3)).min() > 10
    border = torch.cat([images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1]], 2)
    assert border.std(2).min() > 10


def test_golden_logits_are_in_full_precision_whatever_is_around(saved):
    detector, path = saved
    with torch.autocast("cpu", dtype=torch.bfloat16):
        save_detector(path, detector, {})
        load_detector(path)
    with torch.no_grad():
        assert read_metadata(path)["golden"] == detector(golden_images(64)).tolist() == golden_logits(detector)


def test_with_other_versions_the_same_computation_is_accepted(saved):
    detector, path = saved
    rewrite(path, versions={"timm": "0.9.1", "torch": "2.4.0"})
    loaded = load_detector(path)
    assert golden_logits(loaded) == golden_logits(detector)


@pytest.mark.parametrize(
    "change",
    [
        {"mean": (0.5, 0.5, 0.5)},
        {"std": (0.5, 0.5, 0.5)},
        {"kwargs": {"pad_type": "same"}},
        {"kwargs": {"act_layer": "relu"}},
        {"kwargs": {"bn_eps": 0.1}},
    ],
    ids=str,
)
def test_another_computation_with_the_same_weights_is_refused(saved, change):
    _, path = saved
    rewrite(path, model=read_metadata(path)["model"] | change, versions={"timm": "0.9.1", "torch": "2.4.0"})
    message = (
        rf"best\.safetensors was trained with timm 0\.9\.1 and torch 2\.4\.0, and computes something else with timm "
        rf"{timm.__version__} and torch .* here \(.* was -?\d+\.\d+ and is -?\d+\.\d+\): install those versions, or"
    )
    with pytest.raises(UserError, match=message) as caught:
        load_detector(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [{"pad_type": "same"}, {"act_layer": "gelu"}])
def test_a_timm_that_builds_something_else_by_that_name_is_refused(saved, monkeypatch, change):
    _, path = saved
    monkeypatch.setattr(timm, "create_model", functools.partial(timm.create_model, **change))
    with pytest.raises(UserError, match=r"best\.json are not of one training"):
        load_detector(path)


@pytest.mark.parametrize("versions", [{}, {"timm": "0.9.1"}])
def test_weights_of_another_training_are_refused(saved, versions):
    _, path = saved
    safetensors.torch.save_file(certain(seed=1).backbone.state_dict(), path)
    rewrite(path, versions=read_metadata(path)["versions"] | versions)
    with pytest.raises(UserError, match="computes something else" if versions else "are not of one training"):
        load_detector(path)


@pytest.mark.parametrize("share", [0.5, 1.5])
def test_a_difference_is_refused_from_two_hundredths_on(saved, share):
    _, path = saved
    golden = read_metadata(path)["golden"]
    rewrite(path, golden=[logit + share * 0.02 * (1 + abs(logit)) for logit in golden])
    if share < 1:
        load_detector(path)
    else:
        with pytest.raises(UserError, match="not of one training"):
            load_detector(path)


@pytest.mark.parametrize("golden", [[], [1.0], "1234", None, [math.nan] * 4, ["a"] * 4], ids=str)
def test_golden_logits_that_are_none_are_a_users_error(saved, golden):
    _, path = saved
    rewrite(path, golden=golden)
    with pytest.raises(UserError, match=r"best\.safetensors (cannot be loaded|and .* are not of one training)"):
        load_detector(path)


# --- code in files


class Code:
    """Unpickled, it makes the file that it is given."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def tarred(payload, path):
    """torch's format of 2016."""
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            content = pickle.dumps(payload, protocol=2)
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def beside(payload):
    return {"state_dict": {"weight": torch.zeros(1)}, "model": {"weight": torch.zeros(1)}, "optimizer": payload}


WRITERS = {
    "zip": torch.save,
    "zip beside weights": lambda payload, path: torch.save(beside(payload), path),
    "legacy": lambda payload, path: torch.save(payload, path, _use_new_zipfile_serialization=False),
    "legacy beside weights": lambda payload, path: torch.save(
        beside(payload), path, _use_new_zipfile_serialization=False
    ),
    "tar": tarred,
    **{
        f"pickle {protocol}": lambda payload, path, protocol=protocol: path.write_bytes(pickle.dumps(payload, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}
READERS = {
    "last.pt": load_state,
    "best.safetensors": load_detector,
}
STARTS = ("w.pth", "w.pt", "w.bin", "w", "w.pth.tar", "w.safetensors")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", [*READERS, *STARTS])
def test_code_in_a_file_is_refused_and_not_run(saved, tmp_path, name):
    read = READERS.get(name) or functools.partial(load_weights, saved[0])
    for writer, write in WRITERS.items():
        write(Code(tmp_path / "ran"), tmp_path / name)
        with pytest.raises(UserError, match=name) as caught:
            read(tmp_path / name)
        assert not (tmp_path / "ran").exists(), writer
        assert "\n" not in str(caught.value), writer


def test_that_code_would_run_if_it_were_unpickled(tmp_path):
    pickle.loads(pickle.dumps(Code(tmp_path / "ran"))).close()
    assert (tmp_path / "ran").exists()


# --- to go on from


def test_a_state_comes_back_with_its_optimiser(tmp_path):
    model = nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "history": [{"auc": 0.5}], "best": None}
    save_state(tmp_path / "last.pt", state | {"rng": torch.get_rng_state()})
    loaded = load_state(tmp_path / "last.pt")
    assert (loaded["history"], loaded["best"]) == ([{"auc": 0.5}], None)
    assert torch.equal(loaded["model"]["weight"], model.weight)
    assert torch.equal(loaded["rng"], torch.get_rng_state())
    torch.optim.AdamW(nn.Linear(2, 1).parameters(), lr=0.2).load_state_dict(loaded["optimizer"])


@pytest.mark.parametrize("state", [{"model": nn.Linear(1, 1)}, [1], torch.zeros(1)], ids=["module", "list", "tensor"])
def test_another_file_is_no_state(tmp_path, state):
    torch.save(state, tmp_path / "last.pt")
    with pytest.raises(UserError, match=r"last\.pt is damaged: remove it"):
        load_state(tmp_path / "last.pt")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_state_that_was_cut_off_is_damaged(tmp_path, share):
    path = tmp_path / "last.pt"
    save_state(path, {"model": {"weight": torch.zeros(1000)}})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match=r"last\.pt is damaged: remove it"):
        load_state(path)


def test_a_state_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    def forbidden(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(torch, "load", forbidden)
    with pytest.raises(UserError, match=r"last\.pt cannot be read: Permission denied"):
        load_state(tmp_path / "last.pt")


def test_a_state_that_cannot_be_saved_leaves_the_old(tmp_path):
    path = tmp_path / "last.pt"
    save_state(path, {"epoch": 1})
    with pytest.raises(Exception, match="pickle"):
        save_state(path, {"epoch": lambda: 2})
    assert load_state(path) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]
