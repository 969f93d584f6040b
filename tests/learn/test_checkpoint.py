"""Checkpoints: what is saved is what is loaded, and everything else is refused."""

import json

import pytest
import torch
from torch import nn

from deepfake.errors import UserError
from deepfake.learn.checkpoint import detector_json, load_detector, load_state, read_facts, save_detector, save_state
from deepfake.learn.models import build_detector, resolve_spec
from deepfake.learn.optim import build_optimizer

IMAGES = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def saved(tmp_path):
    """A saved detector and the path of its weights."""
    torch.manual_seed(0)
    detector = build_detector(resolve_spec("test_resnet", image_size=64, drop_rate=0.1)).eval()
    path = tmp_path / "best.safetensors"
    save_detector(path, detector.backbone.state_dict(), detector.spec, {"dataset": "demo", "prior_logit": 0.5})
    return detector, path


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
def test_a_loaded_detector_gives_the_very_logits(tmp_path, name):
    detector = build_detector(resolve_spec(name, image_size=64, mean=(0.1, 0.2, 0.3))).eval()
    save_detector(tmp_path / "best.safetensors", detector.backbone.state_dict(), detector.spec, {})
    loaded = load_detector(tmp_path / "best.safetensors").eval()
    with torch.inference_mode():
        assert torch.equal(loaded(IMAGES), detector(IMAGES))
    assert loaded.spec == detector.spec


def test_facts_lie_beside_the_weights(saved):
    _, path = saved
    assert detector_json(path) == path.with_name("best.json")
    facts = read_facts(path)
    assert (facts["dataset"], facts["prior_logit"], facts["model"]["name"]) == ("demo", 0.5, "test_resnet")
    assert set(facts["versions"]) == {"timm", "torch"}
    assert {file.name for file in path.parent.iterdir()} == {"best.json", "best.safetensors"}


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
    facts = read_facts(path)
    detector_json(path).write_text(json.dumps(facts | {"model": facts["model"] | change}))
    with pytest.raises(UserError):
        load_detector(path)


# --- to go on from


def test_a_state_comes_back_with_its_optimiser(tmp_path):
    model = nn.Linear(2, 1)
    optimizer = build_optimizer(model, lr=0.1, weight_decay=0.0)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "history": [{"auc": 0.5}], "best": None}
    save_state(tmp_path / "last.pt", state | {"rng": torch.get_rng_state()})
    loaded = load_state(tmp_path / "last.pt")
    assert (loaded["history"], loaded["best"]) == ([{"auc": 0.5}], None)
    assert torch.equal(loaded["model"]["weight"], model.weight)
    assert torch.equal(loaded["rng"], torch.get_rng_state())
    build_optimizer(nn.Linear(2, 1), lr=0.2, weight_decay=0.0).load_state_dict(loaded["optimizer"])


def test_a_state_with_code_is_not_loaded(tmp_path):
    torch.save({"model": nn.Linear(1, 1)}, tmp_path / "last.pt")
    with pytest.raises(UserError, match=r"last\.pt is damaged: remove it"):
        load_state(tmp_path / "last.pt")


def test_a_state_that_cannot_be_saved_leaves_the_old(tmp_path):
    path = tmp_path / "last.pt"
    save_state(path, {"epoch": 1})
    with pytest.raises(Exception, match="pickle"):
        save_state(path, {"epoch": lambda: 2})
    assert load_state(path) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]
