"""What the README and the pages of docs/ say of the code is what the code says; and every command in them is valid."""

from __future__ import annotations

import ast
import dataclasses
import functools
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pipeline import REPOSITORY

import deepfake
from deepfake.arguments import load_config, presets
from deepfake.commands import files_of, names
from deepfake.config import Config
from deepfake.score.formats import FORMATS
from deepfake.sources import LAYOUTS
from deepfake.sources.base import Contradiction, Row
from deepfake.sources.tree import scan
from deepfake.tables import dictionary

FILES = (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")))
PAGES = {path.name: path.read_text() for path in FILES}
# The commands of each script; run_tests.sh hands its arguments to pytest.
SCRIPTS = {
    "run_all.sh": ("index", "folds", "extract", "train", "infer"),
    "run_train.sh": ("index", "folds", "extract", "train"),
    "run_infer.sh": ("index", "infer"),
}
GPU_PARTS = re.findall(r'^    "(\w+)": Part\(', (REPOSITORY / "benchmarks/gpu_parts.py").read_text(), re.MULTILINE)
OTHER_PROGRAMS = {"source", "pip", "export", "cd", "cp", "cat", "tensorboard"}
OTHER_LINES = {"bash .ci/run", "python -m mypy"}


# --- what the pages hold


def fences(text: str, kind: str) -> list[str]:
    """What stands in the code blocks of a kind, without the indentation of a list that they are in."""
    blocks = re.finditer(rf"^( *)```{kind}\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block[2]) for block in blocks]


def prose(text: str) -> str:
    """A page without its code blocks."""
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)


def keys_of(section: Any, prefix: str = "") -> Iterator[str]:
    """Every key of the configuration, sections too."""
    for item in dataclasses.fields(section):
        value = getattr(section, item.name)
        yield prefix + item.name
        if dataclasses.is_dataclass(value):
            yield from keys_of(value, f"{prefix}{item.name}.")


KEYS = set(keys_of(Config()))
SECTIONS = {key.partition(".")[0] for key in KEYS if "." in key}


def anchors(text: str) -> set[str]:
    """What GitHub calls the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


# --- what the code says of itself


def test_the_data_dictionary_is_that_of_the_tables():
    assert PAGES["contracts.md"].endswith("## The tables\n\n" + dictionary()), "print it again: development.md, Docs"


def test_every_command_is_in_the_readme_in_the_order_of_help():
    listed = re.findall(r"^\| `(\w+)` \|", PAGES["README.md"], re.MULTILINE)
    assert listed == list(names())


def test_every_layout_is_listed_with_what_it_looks_for():
    for name, layout in LAYOUTS.items():
        about = layout.about.replace("<", r"\<")  # else a browser takes it for a tag
        assert f"| `{name}` | {about} |" in PAGES["data.md"]


def test_every_submission_format_is_listed_with_what_it_is_for_its_file_and_its_metric():
    lines = PAGES["submitting.md"].splitlines()
    for name, form in FORMATS.items():
        (row,) = [line for line in lines if line.startswith(f"| `{name}` | {form.about} |")]
        assert f"`{form.file}`" in row and row.endswith(f"| {form.metric} |"), name
        assert form.columns is None or f"`{','.join(form.columns)}`" in row, name


def test_every_preset_is_listed_and_says_how_it_is_run():
    assert presets()
    for name, path in presets().items():
        assert f"| `{name}` |" in PAGES["presets.md"]
        first = path.read_text().splitlines()[0]
        assert first.startswith("# ./run_"), name
        check_line(first.removeprefix("# ").partition(" — ")[0])


# --- commands and keys


@functools.cache
def configure(*options: str) -> Config:
    """The configuration; each only once, as reading one takes a while."""
    return load_config(list(options))


def lines_of(block: str) -> list[str]:
    """Commands of a block, continued lines joined, those that stand behind && apart."""
    joined = block.replace("\\\n", " ").splitlines()
    return [part.strip() for line in joined for part in line.split(" && ") if part.strip()]


def check_line(line: str) -> None:
    """AssertionError or UserError where a line would be refused before it begins."""
    if line.partition("  #")[0].strip() in OTHER_LINES:
        return
    words = shlex.split(line, comments=True)
    if words[:1] == ["bash"]:
        words = words[1:]
    words = [word for word in words if not re.fullmatch(r"[A-Z_]+=\S*", word)]  # PYTHONPATH=src before a command
    program = Path(words[0]).name
    if program in SCRIPTS:
        assert (REPOSITORY / program).is_file(), line
        check_words(words[1:], SCRIPTS[program], line)
    elif program == "run_tests.sh":
        assert (REPOSITORY / program).is_file(), line
    elif program == "gpu.sh":
        assert (REPOSITORY / words[0]).is_file() and set(words[1:]) <= {"--tiny", *GPU_PARTS}, line
    elif words[1:3] == ["-m", "deepfake"]:
        check_words(words[3:], (), line)
    elif program == "deepfake":
        check_words(words[1:], (), line)
    else:
        assert program in OTHER_PROGRAMS, f"{line}: what is {program}?"


def check_words(words: list[str], commands: tuple[str, ...], line: str) -> None:
    """Commands, then files where a command takes them, and options that make a configuration."""
    options = [word for word in words if re.match(r"[a-z_.]+=", word)]
    dashed = [word for word in words if word.startswith("-")]
    assert set(dashed) <= {"--help", "--version"}, line
    plain = [word for word in words if word not in options and word not in dashed]
    commands = (*commands, *(word for word in plain if word in names()))
    assert commands and set(commands) <= set(names()), line
    files = [word for word in plain if word not in names()]
    assert all(set(word) & set("./*") for word in files), f"{line}: neither a command nor a file"
    takers = {files_of(name) for name in commands} - {"skip"}
    assert not files or (takers and "" not in takers), f"{line}: files for whom?"
    configure(*options)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_is_valid(page):
    for block in fences(PAGES[page], "bash"):
        for line in lines_of(block):
            if not line.startswith("#"):
                check_line(line)


def test_a_wrong_command_is_found():
    for line in (
        "deepfake trian fold=0",
        "deepfake train fold 0",
        "deepfake train data.rot=/data",
        "./run_train.sh preset=dfdc_b5 data.root=/data",
        "./run_trian.sh fold=0",
        "benchmarks/gpu.sh trianing",
        "deepfake ledger clip.mp4",
        "deepfake train --fold=0",
    ):
        with pytest.raises((AssertionError, ValueError)):  # a UserError is a ValueError
            check_line(line)


@pytest.mark.parametrize("page", PAGES)
def test_every_key_in_a_line_of_prose_is_one_and_takes_the_value(page):
    options = []
    for span in re.findall(r"`([^`\n]+)`", prose(PAGES[page])):
        if re.match(r"[a-z_.]+=", span) and span != "key=value":
            options += shlex.split(span)
        elif (
            span.partition(".")[0] in SECTIONS
            and re.fullmatch(r"[a-z_.]+\*?", span)
            and not span.endswith((".py", ".json"))
        ):
            assert span.removesuffix(".*") in KEYS, f"{page}: {span}"
    assert {option.partition("=")[0] for option in options} <= KEYS
    given = [option for option in options if not option.startswith("preset=") and not option.endswith("=")]
    configure("data.root=/data", *given)


@pytest.mark.parametrize("page", PAGES)
def test_every_python_block_compiles(page):
    for block in fences(PAGES[page], "python"):
        ast.parse(block)


def test_the_examples_of_a_command_and_of_a_layout_are_what_they_show(tmp_path):
    command: dict[str, Any] = {}
    layout: dict[str, Any] = {}
    for text, example in zip(fences(PAGES["development.md"], "python"), (command, layout)):
        exec(text, example)
    assert {"ABOUT", "READS", "ORDER", "run"} <= command.keys()
    assert all(key in KEYS for key in command["READS"])
    for path in ("photos/a.png", "b.png", "test/c.png"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    tree = scan(tmp_path)
    assert layout["LAYOUT"].recognise(tree) == "photos/ is there"
    assert [type(one) for one in layout["LAYOUT"].read(tree)] == [Contradiction, Row, Row]


def test_every_yaml_block_is_a_preset(tmp_path):
    for text in PAGES.values():
        for number, block in enumerate(fences(text, "yaml")):
            path = tmp_path / f"{number}.yaml"
            path.write_text(block)
            load_config([f"preset={path}", "data.root=/data"])


# --- links and figures


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    folder = REPOSITORY if page == "README.md" else REPOSITORY / "docs"
    for link in re.findall(r"\]\(([^)]+)\)", prose(PAGES[page])):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        assert not path or (folder / path).exists(), f"{page}: {link}"
        if anchor:
            assert anchor in anchors(PAGES[Path(path).name if path else page]), f"{page}: {link}"


def test_every_file_of_the_code_that_development_names_is_there():
    package = Path(deepfake.__file__).parent
    named = re.findall(r"`([\w./]+\.(?:py|toml|txt|sh))`", prose(PAGES["development.md"]))
    assert len(named) >= 20
    for path in named:
        assert "NAME" in path or any((folder / path).is_file() for folder in (package, REPOSITORY)), path


def test_the_readme_is_a_page_and_leads_to_every_other():
    assert len(PAGES["README.md"].splitlines()) <= 150
    for page in PAGES.keys() - {"README.md"}:
        assert f"(docs/{page})" in PAGES["README.md"]


def test_every_speed_in_the_readme_stands_in_the_results_that_its_row_names():
    rows = re.findall(r"^\|([^|]+)\|(.+)\| \[\w+\]\((benchmarks/results/\S+)\) \|$", PAGES["README.md"], re.MULTILINE)
    assert len(rows) >= 3
    for what, figures, path in rows:
        results = (REPOSITORY / path).read_text()
        for figure in re.findall(r"\d+\.\d+|\d{3,}", figures):
            assert f" {figure} " in results, f"{what.strip()}: {figure} is not in {path}"


def test_the_wheels_for_kaggle_are_of_the_versions_that_are_tested():
    pinned = (REPOSITORY / "requirements.txt").read_text().splitlines()
    wheels = re.findall(r"[\w-]+==[\d.]+", PAGES["kaggle.md"])
    assert len(wheels) == 4 and set(wheels) <= set(pinned)


def test_the_workflow_runs_what_ci_runs():
    steps = yaml.safe_load((REPOSITORY / ".github/workflows/tests.yml").read_text())["jobs"]["tests"]["steps"]
    assert any(step.get("run") == ".ci/run" for step in steps) and (REPOSITORY / ".ci/run").is_file()
