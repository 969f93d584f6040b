"""Who imports whom, read from the sources; and that importing does nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import deepfake
from deepfake.__main__ import STAGES

ROOT = Path(deepfake.__file__).parent
ROOMS = {
    **{"sources": {"forge"}, "media": set(), "forge": set(), "learn": {"forge"}, "score": set(), "report": set()},
    "folds": set(),
}
MODULES = {
    ".".join(("deepfake", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}


def imports(path):
    """Every module that a file imports, wherever in it; `from deepfake import x` as deepfake.x."""
    assert MODULES
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            package = node.module in ("deepfake", "deepfake.stages")
            yield from (f"{node.module}.{alias.name}" for alias in node.names) if package else [node.module]


@pytest.mark.parametrize("module", [name for name in MODULES if name.split(".")[1:2] and name.split(".")[1] in ROOMS])
def test_a_room_imports_itself_the_contracts_and_what_it_may(module):
    room = module.split(".")[1]
    allowed = {"errors", "files", "tables", room} | ROOMS[room]
    own = {name for name in imports(MODULES[module]) if name.split(".")[0] == "deepfake"}
    assert {name for name in own if name.split(".")[1] not in allowed} == set()


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("deepfake.stages.")])
def test_no_stage_is_imported_by_another_or_by_what_they_share(module):
    assert {
        name for name in imports(MODULES[module]) if name in {f"deepfake.stages.{stage}" for stage in STAGES}
    } == set()


def test_only_the_configuration_knows_omegaconf():
    knowing = {module for module, path in MODULES.items() if any(n.startswith("omegaconf") for n in imports(path))}
    assert knowing == {"deepfake.configure"}


def test_every_room_is_there():
    assert {name.split(".")[1] for name in MODULES if "." in name} >= {*ROOMS, "config", "tables", "layout", "stages"}


LIGHT = [
    "deepfake",
    "deepfake.config",
    "deepfake.configure",
    "deepfake.tables",
    "deepfake.layout",
    "deepfake.errors",
    "deepfake.__main__",
]
IMPORT_ALL = """
import importlib, sys
light, others = sys.argv[1].split(","), sys.argv[2].split(",")
for module in light:
    importlib.import_module(module)
heavy = {"torch", "pandas", "omegaconf", "timm", "cv2", "matplotlib"} & sys.modules.keys()
assert not heavy, f"imported at module level: {heavy}"
for module in others:
    importlib.import_module(module)
assert not sys.modules["torch"].cuda.is_initialized()
"""


def test_importing_prints_nothing_and_the_light_modules_stay_light():
    light = LIGHT + [name for name in MODULES if name.startswith("deepfake.stages")]
    others = [name for name in MODULES if name not in light]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, ",".join(light), ",".join(others)],
        cwd=ROOT.parent,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
