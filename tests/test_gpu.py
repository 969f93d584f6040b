"""A GPU's first hour, as far as it goes without one: benchmarks/gpu.sh --tiny."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pipeline import REPOSITORY, run_cold


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch):
    """The module gpu of benchmarks/, whose neighbours it imports by their bare names."""
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    import gpu

    return gpu


@pytest.mark.slow
def test_a_part_that_fails_is_told_and_the_rest_is_done(tmp_path: Path) -> None:
    (tmp_path / "facenet_pytorch.py").write_text("raise ImportError('broken on purpose')")
    places = {"PYTHONPATH": str(tmp_path), "DEEPFAKE_PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""}
    script = REPOSITORY / "benchmarks/gpu.sh"
    done = run_cold([script, "--tiny", "--out", tmp_path, "detection", "training"], tmp_path, **places)
    assert done.status == 1, done.output
    assert "FAILED: ImportError: broken on purpose" in done.output
    (page,) = tmp_path.glob("gpu-tiny-*.md")
    text = page.read_text()
    assert text.index("- **detection** failed: ImportError: broken on purpose") < text.index("## Figures")
    assert "| training: ours ÷ timm, test_efficientnet at 64 px |" in text
    assert "b ours" in text.partition("## training")[2]


def test_what_falls_short_is_told_first(gpu) -> None:
    figures = [gpu.Figure("speed", 9.0, "×", least=10), gpu.Figure("ratio", 0.1, most=0.2)]
    lost = gpu.Figure("share", float("nan"), "%", least=99)
    text = gpu.page([gpu.Result("detection", 3.0, figures=[*figures, lost])], tiny=False)
    told = text.partition("## What failed or fell short")[2].partition("## Figures")[0]
    assert "speed is 9 ×, to be at least 10" in told and "share is nan %" in told and "ratio" not in told
    assert "| detection: ratio | 0.1 |  | at most 0.2 |  |" in text


def test_what_is_missing_is_named_with_the_commands_that_bring_it(gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "is_there", lambda package: package not in {"av", "pebble", "albumentations", "pydantic"})
    with pytest.raises(SystemExit) as error:
        gpu.check()
    told = str(error.value)
    assert "pip download --no-deps" in told and "pip install --no-deps --no-index" in told
    assert all(f" {package}==" in told for package in ("av", "pebble", "albumentations", "pydantic"))
    assert "torch==" not in told and "decord" not in told


def test_without_a_card_the_way_to_try_it_is_named(tmp_path: Path) -> None:
    done = run_cold(
        [REPOSITORY / "benchmarks/gpu.sh"], tmp_path, DEEPFAKE_PYTHON=sys.executable, CUDA_VISIBLE_DEVICES=""
    )
    assert done.status == 1 and "torch sees no CUDA device; --tiny tries out the way on a CPU" in done.output
