"""The house, read from the sources: who imports whom, how large things are, and that importing does nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import deepfake
from deepfake.commands import command, names

ROOT = Path(deepfake.__file__).parent
MODULES = {
    ".".join(("deepfake", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
TREES = {module: ast.parse(path.read_text()) for module, path in MODULES.items()}

BASE = {"errors", "files", "tables", "processes"}
ROOMS: dict[str, set[str]] = {  # beside itself and the base
    **{"media": set(), "forgery": set(), "score": set(), "report": set(), "splits": set()},
    **{"demo": {"forgery"}, "learn": {"forgery"}, "sources": {"demo"}},
}
WORDS = BASE | {"contract", "provenance", "console", "machine"}
FLOORS: dict[str, set[str]] = {
    "workspace": WORDS | set(ROOMS),
    "pipeline": WORDS | set(ROOMS) | {"workspace"},
    "settings": WORDS | set(ROOMS) | {"workspace", "pipeline", "config", "knobs", "arguments"},
    "commands": WORDS
    | set(ROOMS)
    | {"workspace", "pipeline", "config", "knobs", "sections", "training_sections", "settings", "arguments", "model"},
}
MOST_CFG = 50  # functions of commands/ that may take the configuration


def imports(module: str) -> Iterator[str]:
    """Every module of ours that a module imports, wherever in it."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "deepfake")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "deepfake":
            found = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in found)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_rooms_and_floors_import_only_what_lies_below_them() -> None:
    allowed = {room: BASE | {room} | others for room, others in ROOMS.items()}
    allowed |= {floor: {floor} | others for floor, others in FLOORS.items()}
    assert {room_of(module) for module in MODULES} >= allowed.keys()
    wrong = {
        (module, other)
        for module in MODULES
        if room_of(module) in allowed
        for other in imports(module)
        if other != "deepfake" and room_of(other) not in allowed[room_of(module)]
    }
    assert wrong == set()


def test_no_command_imports_another() -> None:
    prefix = "deepfake.commands."
    inside = [module for module in MODULES if module.startswith(prefix)]
    others = {(one, other) for one in inside for other in imports(one) if other.startswith(prefix)}
    assert {pair for pair in others if pair[0].split(".")[2] != pair[1].split(".")[2]} == set()


def test_no_imports_go_in_a_circle() -> None:
    """Imports for types and within functions count too."""
    left = {module: {other for other in imports(module) if other != module} for module in MODULES}
    left = {
        module: {other for other in others if not module.startswith(f"{other}.")} for module, others in left.items()
    }
    while free := {module for module, others in left.items() if not others & left.keys()}:
        left = {module: others for module, others in left.items() if module not in free}
    assert left == {}


def test_nothing_is_too_large() -> None:
    """Modules, classes and functions, in lines."""
    limits = {ast.ClassDef: 150, ast.FunctionDef: 50}
    large = [(module, len(path.read_text().splitlines())) for module, path in MODULES.items()]
    found = [f"{module}: {lines} lines" for module, lines in large if lines > 300]
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if type(node) in limits and node.end_lineno - node.lineno + 1 > limits[type(node)]:
                found.append(f"{module}.{node.name}: {node.end_lineno - node.lineno + 1} lines")
    assert found == []


def takes_configuration(function: ast.FunctionDef) -> bool:
    given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return any(argument.arg == "cfg" for argument in given)


def test_the_configuration_ends_where_objects_are_built() -> None:
    functions = [
        f"{module}.{node.name}"
        for module, tree in TREES.items()
        if room_of(module) in ("commands", "settings")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and takes_configuration(node)
    ]
    print(len(functions), "functions take cfg")
    assert len(functions) <= MOST_CFG


def test_the_entry_point_knows_no_command_by_name() -> None:
    texts = {node.value for node in ast.walk(TREES["deepfake.__main__"]) if isinstance(node, ast.Constant)}
    words = {word for text in texts if isinstance(text, str) for word in text.replace("=", " ").split()}
    documented = set(ast.get_docstring(TREES["deepfake.__main__"]).split())
    assert (words - documented) & set(names()) == set()


def test_the_commands_are_the_files_of_their_folder() -> None:
    folder = ROOT / "commands"
    there = {path.stem for path in folder.iterdir() if path.name != "__init__.py" and not path.name.startswith("__py")}
    assert set(names()) == there
    for name in names():
        one = command(name)
        assert one.ABOUT and one.READS and callable(one.run), name
    assert len({command(name).ORDER for name in names()}) == len(names())


def test_only_arguments_know_omegaconf() -> None:
    knowing = {
        module
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("omegaconf")
    }
    assert knowing == {"deepfake.arguments"}


IMPORT_ALL = """
import importlib, sys
light, others = sys.argv[1].split(","), sys.argv[2].split(",")
for module in light:
    importlib.import_module(module)
heavy = {"torch", "pandas", "numpy", "omegaconf", "timm", "cv2", "matplotlib"} & sys.modules.keys()
assert not heavy, f"imported at module level: {heavy}"
for module in others:
    importlib.import_module(module)
assert not sys.modules["torch"].cuda.is_initialized()
"""


def test_importing_prints_nothing_and_the_light_modules_stay_light() -> None:
    floors = ("commands", "workspace", "pipeline", "settings")
    light = [module for module in MODULES if room_of(module) in floors or module.count(".") < 2]
    light = [module for module in light if room_of(module) not in (*ROOMS, "model")]
    others = [module for module in MODULES if module not in light]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, ",".join(light), ",".join(others)],
        cwd=ROOT.parent,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
