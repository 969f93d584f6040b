"""Starting from a local file: which files are taken, and what is said of the others."""

import collections
import random

import pytest
import safetensors.torch
import timm
import torch

from deepfake.errors import UserError
from deepfake.learn.models import build_detector, resolve_spec
from deepfake.learn.starting_weights import load_weights


@pytest.fixture(scope="module")
def published():
    """Weights of the architecture with ImageNet's classifier, as others publish them."""
    torch.manual_seed(1)
    return timm.create_model("test_resnet", num_classes=1000).state_dict()


@pytest.fixture
def detector():
    torch.manual_seed(2)
    return build_detector(resolve_spec("test_resnet"))


def body(state):
    return {key: value for key, value in state.items() if not key.startswith("fc.")}


def same(detector, state):
    own = detector.backbone.state_dict()
    return all(torch.equal(own[key], value) for key, value in body(state).items())


def test_safetensors_are_loaded_but_for_the_classifier(tmp_path, detector, published):
    head = detector.backbone.fc.weight.detach().clone()
    assert not same(detector, published)
    safetensors.torch.save_file(published, tmp_path / "w.safetensors")
    load_weights(detector, tmp_path / "w.safetensors")
    assert same(detector, published)
    assert torch.equal(detector.backbone.fc.weight, head)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"state_dict": {f"module.backbone.{key}": value for key, value in state.items()}},
        lambda state: {f"model.{key}": value for key, value in state.items()},
        body,
        collections.OrderedDict,
    ],
    ids=["plain", "state_dict", "model", "module.", "nested", "model.", "no classifier", "ordered"],
)
def test_pth_is_loaded_in_every_usual_wrapping(tmp_path, detector, published, wrap):
    torch.save(wrap(published), tmp_path / "w.pth")
    load_weights(detector, tmp_path / "w.pth")
    assert same(detector, published)


def test_a_classifier_of_one_logit_is_loaded_too(tmp_path, detector):
    torch.manual_seed(3)
    other = timm.create_model("test_resnet", num_classes=1).state_dict()
    torch.save(other, tmp_path / "w.pth")
    load_weights(detector, tmp_path / "w.pth")
    assert torch.equal(detector.backbone.fc.weight, other["fc.weight"])


def test_counters_stored_as_arrays_of_one_are_taken(tmp_path, detector, published):
    counters = {key: value.reshape(1) for key, value in published.items() if value.ndim == 0}
    assert counters
    safetensors.torch.save_file(published | counters, tmp_path / "w.safetensors")
    load_weights(detector, tmp_path / "w.safetensors")
    assert same(detector, published)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda state: {key: value for key, value in state.items() if key != "conv1.0.weight"}, r"1 missing \(conv1"),
        (lambda state: state | {"extra.weight": torch.zeros(1)}, r"1 unknown \(extra\.weight"),
        (lambda state: state | {"conv1.0.weight": torch.zeros(2, 2)}, r"1 of another shape \(conv1\.0\.weight"),
        (lambda _: timm.create_model("test_vit").state_dict(), r"missing .* unknown"),
    ],
    ids=["missing", "unknown", "shape", "another model"],
)
def test_weights_of_another_model_are_refused_and_nothing_is_loaded(tmp_path, detector, published, spoil, message):
    before = {key: value.clone() for key, value in detector.backbone.state_dict().items()}
    torch.save(spoil(published), tmp_path / "w.pth")
    with pytest.raises(UserError, match=rf"holds other weights than test_resnet's: .*{message}"):
        load_weights(detector, tmp_path / "w.pth")
    assert all(torch.equal(value, before[key]) for key, value in detector.backbone.state_dict().items())


# Files with code in them: see test_checkpoint.py


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", b"x" * 999, b"<!DOCTYPE html>", b"PK\x03\x04", b"\x80\x02."])
def test_garbage_is_refused_by_name(tmp_path, detector, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name} cannot be read"):
        load_weights(detector, tmp_path / name)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("zipped", [True, False])
def test_flipped_bytes_are_refused_by_name_or_change_values_alone(tmp_path, detector, zipped):
    path, rng = tmp_path / "w.pth", random.Random(0)
    torch.save({"weight": torch.ones(3), "step": torch.zeros(2, 2)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for _ in range(300):
        content = bytearray(whole)
        for place in rng.sample(range(len(content)), 3):
            content[place] = rng.randrange(256)
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"w\.pth (cannot be read|holds)"):
            load_weights(detector, path)


def test_a_file_that_may_not_be_read_is_refused_by_name(tmp_path, detector, monkeypatch):
    def forbidden(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "w.pth").write_bytes(b"x")
    monkeypatch.setattr(torch, "load", forbidden)
    with pytest.raises(UserError, match=r"w\.pth cannot be read .*Permission denied"):
        load_weights(detector, tmp_path / "w.pth")


def test_a_mistake_of_ours_is_not_called_damage(tmp_path, detector, monkeypatch):
    def broken(*_args, **_kwargs):
        raise AttributeError("no such name")

    (tmp_path / "w.pth").write_bytes(b"x")
    (tmp_path / "w.safetensors").write_bytes(b"x")
    monkeypatch.setattr(torch, "load", broken)
    monkeypatch.setattr(safetensors.torch, "load_file", broken)
    for name in ("w.pth", "w.safetensors"):
        with pytest.raises(AttributeError, match="no such name"):
            load_weights(detector, tmp_path / name)


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"epoch": 3}, {"state_dict": [1]}, {0: torch.zeros(1)}], ids=str)
def test_what_is_no_state_dict_is_refused(tmp_path, detector, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth holds no state dict"):
        load_weights(detector, tmp_path / "w.pth")


def test_a_file_that_is_not_there_is_refused(tmp_path, detector):
    with pytest.raises(UserError, match=r"model\.weights=.*gone\.pth does not exist"):
        load_weights(detector, tmp_path / "gone.pth")
