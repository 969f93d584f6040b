"""The commands: one module (or package) each; what lies in this folder is what `--help` lists.

A command says of itself:

- ABOUT: its line of help. READS: the sections and keys of the configuration that it reads. ORDER: its place in the
  pipeline, in which commands run however they were typed.
- FILES, where files may be named beside it: `one` or `many` = they become input=; `skip` = it is not needed for them;
  another command's name = that one takes its place.
- OWN: keys that are refused where the command is not asked for.
- LONG = True, where it can take hours: what is wrong with the commands after it is said before it begins.
- configure(options, chain), where it has a say in that: the configuration of the whole command line, or None.
- prepare(cfg), where something that takes a while can be begun before all commands, beside them.
- check(cfg), where something can be known to be wrong before the work begins: UserError for it.
- run(cfg, chain): does it, and gives back what a notebook would want of it.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from deepfake.arguments import as_options, help_text, load_config
from deepfake.config import Config
from deepfake.console import start_log
from deepfake.errors import UserError, closest

RENAMED = {"judge": "predict"}


@dataclass(frozen=True)
class Chain:
    """The commands of one command line."""

    names: tuple[str, ...]
    """In the pipeline's order."""
    started_s: float
    """When the command line was given, by time.monotonic."""


def names() -> list[str]:
    """Every command, in the pipeline's order."""
    return in_order(found.name for found in pkgutil.iter_modules(__path__))


def in_order(words: Iterable[str]) -> list[str]:
    """Commands, each once, in the pipeline's order."""
    return sorted({*words}, key=lambda name: command(name).ORDER)


def check_names(words: Iterable[str]) -> None:
    """UserError for a word that is no command."""
    for word in words:
        if word not in names():
            hint = f" It is called {RENAMED[word]} now." if word in RENAMED else closest(word, names())
            raise UserError(f"{word!r} is not a command; there are {', '.join(names())}.{hint}")


def command(name: str) -> ModuleType:
    """The command of that name."""
    return importlib.import_module(f"{__name__}.{name}")


def files_of(name: str) -> str:
    """What a command does with files that are named beside it, see FILES; "" = it takes none."""
    return getattr(command(name), "FILES", "")


def run_chain(words: Iterable[str], options: Sequence[str], started_s: float) -> Any:
    """Run commands one after the other with one configuration; what the last one gave. UserError for a user's mistake.

    The configuration is made by the last command that has a say in it.
    """
    # Read when torch is loaded: threads that wait for one another soon sleep, instead of burning the cores that loader
    # processes and other programs need.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    words, options = _for_files(list(words), list(options))
    chain = Chain(tuple(in_order(words)), started_s)
    commands = [command(name) for name in chain.names]
    cfg = _configured(commands, options, chain)
    _check_own(chain.names, options)
    for one in commands:
        if hasattr(one, "prepare"):
            one.prepare(cfg)
    given = None
    for number, one in enumerate(commands):
        if getattr(one, "LONG", False):
            for later in commands[number + 1 :]:
                if hasattr(later, "check"):
                    later.check(cfg)
        given = one.run(cfg, chain)
    return given


def as_function(name: str) -> Callable[..., Any]:
    """A command as a function of keywords, the keys of its configuration: `train(fold=0, **{"data.root": "…"})`.

    It gives back what the command's `run` does, and raises UserError where the command line would say a line.
    """

    def call(**options: Any) -> Any:
        start_log()
        return run_chain([name], as_options(options), time.monotonic())

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"{command(name).ABOUT}\n\nKeywords:\n{help_text(command(name).READS)}"
    return call


def _for_files(words: list[str], options: list[str]) -> tuple[list[str], list[str]]:
    """The commands that files in input= are for, see FILES; and the options, with the files together, one on each line.

    UserError where a command takes none.
    """
    given = [option.removeprefix("input=") for option in options if option.startswith("input=")]
    files = [*filter(None, given)]
    if not files:
        return words, options
    ways = {word: files_of(word) for word in words}
    options = [option for option in options if not option.startswith("input=")] + ["input=" + "\n".join(files)]
    if "one" in ways.values():
        if len(files) > 1:
            raise UserError(f"{', '.join(files)}: one file at a time")
        return words, options
    takers = {word: way for word, way in ways.items() if way != "skip"}
    if not takers or "" in takers.values():
        able = [name for name in names() if files_of(name) not in ("", "skip")]
        example = f"python -m deepfake {able[0]} {files[0]}"
        raise UserError(f"{files[0]!r} is a file, which only {', '.join(able)} take: {example}")
    return [word if way == "many" else way for word, way in takers.items()], options


def _check_own(words: Iterable[str], options: Iterable[str]) -> None:
    """UserError for a key that belongs to a command which is not asked for, see OWN."""
    given = {option.partition("=")[0] for option in options}
    for name in names():
        foreign = given.intersection(getattr(command(name), "OWN", ()))
        if foreign and name not in words:
            raise UserError(f"{sorted(foreign)[0]}= is a key of {name} alone: python -m deepfake {name} …")


def _configured(commands: Sequence[ModuleType], options: Sequence[str], chain: Chain) -> Config:
    for one in reversed(commands):
        cfg: Config | None = one.configure(options, chain) if hasattr(one, "configure") else None
        if cfg is not None:
            return cfg
    return load_config(options)
