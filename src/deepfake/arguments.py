"""From defaults, presets and `key=value` arguments to a checked Config; and the help that lists every key.

Precedence: defaults < preset=NAME (configs/NAME.yaml) < key=value on the command line.
"""

from __future__ import annotations

import difflib
import json
import typing
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from deepfake.config import Config, known_knobs
from deepfake.errors import UserError, closest, raised_within
from deepfake.knobs import Knob, is_below, plain, put, resolved

Layer = tuple[str, Any, str]  # a dotted key, its value, and where it comes from (empty: the command line)

OWN_DATA = ("data.root", "data.listing")  # keys that point at the user's own media
TRAINED = ("crop", "extract", "folds", "model", "augment", "optim", "train")  # sections that a trained run has fixed
# Keys that are meant for one command alone: no run goes on with them.
MOMENTARY = (
    *("extract.retry", "infer.budget_minutes", "evaluate", "submit.to", "submit.message"),
    *("input", "json", "pictures", "public", "private"),
)


def load_config(arguments: Sequence[str], beneath: Sequence[Layer] = ()) -> Config:
    """Configuration from `key=value` arguments, over a preset, over what lies `beneath`, over the defaults.

    With nothing but the defaults, and without data, it is the preset `demo`. UserError for an unknown key (with the
    nearest), a value of the wrong type or range, an unknown preset.
    """
    overrides = [_parse(argument) for argument in arguments]
    preset = next((value for key, value in reversed(overrides) if key == "preset"), "")
    if not preset and not beneath and not any(key in OWN_DATA for key, _ in overrides):
        preset = "demo"
    layers = [(key, value, f"preset {preset}") for key, value in _flatten(_read_preset(preset))] if preset else []
    return _merge([*beneath, *layers, *((key, value, "") for key, value in overrides), ("preset", preset, "")])


def continue_run(run: str, saved: dict[str, Any], arguments: Sequence[str]) -> Config:
    """The configuration that `run` was trained with (as `resolved` gave it), with `key=value` arguments over it.

    Where the media and the outputs lie is not the run's to say. UserError for what would contradict the training.
    """
    overrides = [_parse(argument) for argument in arguments]
    dropped = ["paths", "name", "fold", "num_workers", "preset", *MOMENTARY]
    if any(key in OWN_DATA for key, _ in overrides):
        dropped.append("data")
    trained = dict(_flatten(saved))
    dropped += {key for key in trained if not (_is_known(key) or is_below(key, TRAINED))}  # an older version's
    layers = [(key, value, f"run {run}") for key, value in trained.items() if not is_below(key, tuple(dropped))]
    for key, value in overrides:
        before = _get(saved, key)
        if is_below(key, TRAINED) and _shapes(key) and plain(value) != before:
            raise UserError(
                f"{key}={value}, but run {run} was trained with {before}: leave it out, or train another run"
            )
    return _merge([*layers, *((key, value, "") for key, value in overrides), ("name", run, "")])


def continue_submission(path: Path, saved: dict[str, Any], arguments: Sequence[str]) -> Config:
    """The configuration to check a submission by: media, run and format of its writing, and where the tables lay; with
    `key=value` arguments over it.

    saved: what stands in the submission's config.json, at `path`; empty where there is none.
    """
    own_data = any(_parse(argument)[0] in (*OWN_DATA, "data.name") for argument in arguments)
    kept = ("name", "submit.format", "infer.sample_submission", "paths.data", "paths.folds", "paths.runs")
    beneath = [
        (key, value, str(path))
        for key, value in _flatten(saved)
        if key in kept or (key.startswith("data.") and not own_data)
    ]
    return load_config(arguments, beneath)


def as_arguments(cfg: Config) -> list[str]:
    """`key=value` arguments from which load_config makes this very configuration again."""
    return as_options({key: value for key, value in _flatten(resolved(cfg)) if value or key not in OWN_DATA})


def as_options(values: dict[str, Any]) -> list[str]:
    """Keys and values, of nested dicts too, as `key=value` arguments. A value of None is as if it were not there."""
    return [f"{key}={_as_text(key, value)}" for key, value in _flatten(values) if value is not None]


def _as_text(key: str, value: Any) -> str:
    """A value as it is typed: text as it stands, several files one on each line, everything else as JSON."""
    if value is False and _is_text(key):
        return "off"  # as YAML has it
    if _is_text(key) and isinstance(value, list | tuple):
        return "\n".join(map(str, value))
    return str(value) if _is_text(key) or isinstance(value, str) else json.dumps(value, default=str)


def help_text(sections: tuple[str, ...]) -> str:
    """One line a knob: key, type, default, help; for the given sections and top-level keys."""
    shown = [one for one in known_knobs().values() if is_below(one.key, sections)]
    return "\n".join(f"  {one.key + '=' + _show(one.value):<44} {_type_name(one):<28} {one.about}" for one in shown)


def presets() -> dict[str, Path]:
    """Name → file of every preset that comes with the project."""
    return {path.stem: path for path in sorted(_presets_folder().glob("*.yaml"))}


@cache
def _presets_folder() -> Path:
    packaged = Path(__file__).parent / "configs"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "configs"


def _read_preset(name: str) -> dict[str, Any]:
    import yaml

    path = Path(name) if name.endswith((".yaml", ".yml")) else presets().get(name)
    if path is None or not path.is_file():
        known = list(presets())
        raise UserError(f"preset={name} is not known; there are {', '.join(known)}.{closest(name, known)}")
    try:
        values = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: a preset is a tree of keys and values, not {type(values).__name__}")
    return values


def _parse(argument: str) -> tuple[str, Any]:
    """`optim.lr=3e-4` → ("optim.lr", 0.0003). Keys of type str take the text as it stands, those of type list[str] a
    bare word as a list of one."""
    import yaml

    key, equals, text = argument.partition("=")
    if key in OWN_DATA and not text:
        raise UserError(f"{argument} names no folder (an unset variable?); without {key}= it is the built-in demo set")
    if not equals:
        raise UserError(f"{argument!r} is not key=value (e.g. fold=0 optim.lr=3e-4); --help prints the keys")
    if key == "model":  # short for a key of evaluate
        if not text.endswith(".py"):
            raise UserError(f"{argument}: train takes model.name=NAME, and evaluate model=FILE.py, your own detector")
        key = "evaluate.detector"
    _check_known(key, "")
    if _is_text(key):
        return key, text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{argument}: not a value ({' '.join(str(error).split())})") from error
    if text and _takes_words(key) and not isinstance(value, list | dict):
        return key, [text]
    return key, _number(value)


def _shapes(key: str) -> bool:
    """Whether results depend on a knob; arguments of the model do."""
    return key not in known_knobs() or known_knobs()[key].shapes


def _is_text(key: str) -> bool:
    """Whether a knob takes text as it stands."""
    kind = _kind(key)
    return kind in ("str", "Path") or kind.startswith("Literal")


def _takes_words(key: str) -> bool:
    """Whether a knob is a list of words."""
    return _kind(key) == "list[str]"


def _kind(key: str) -> str:
    """The type of a knob as it is written; empty for arguments of the model."""
    return known_knobs()[key].kind if key in known_knobs() else ""


def _number(value: Any) -> Any:
    """YAML reads 3e-4 as text (it asks for 3.0e-4); here it is a number."""
    if isinstance(value, list):
        return [_number(item) for item in value]
    if isinstance(value, dict):
        return {key: _number(item) for key, item in value.items()}
    if isinstance(value, str):
        try:
            return float(value) if "e" in value.lower() else value
        except ValueError:
            return value
    return value


def _flatten(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested dict → dotted keys and leaves; a dict-valued knob (model.kwargs) stays whole."""
    flat = []
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and key not in known_knobs():
            flat += _flatten(value, f"{key}.")
        else:
            flat.append((key, value))
    return flat


def _is_known(key: str) -> bool:
    return key in known_knobs() or key.startswith(("model.kwargs.", "optim.kwargs."))


def _check_known(key: str, where: str) -> None:
    if _is_known(key):
        return
    known = list(known_knobs())
    if key == "submit":
        raise UserError("submit=… is a section; to hand a file in, write submit.to=kaggle submit.competition=NAME")
    leaves = {name.split(".")[-1]: name for name in reversed(known)}
    near = difflib.get_close_matches(key.rsplit(".", maxsplit=1)[-1], leaves, n=1)
    hint = closest(key, known) or (f" Did you mean {leaves[near[0]]!r}?" if near else "")
    raise UserError(f"unknown key {key!r}{f' in {where}' if where else ''}.{hint} --help prints the keys")


def _merge(layers: list[Layer]) -> Config:
    """Merge dotted keys in order into a checked Config."""
    from omegaconf import OmegaConf

    empty = OmegaConf.structured(Config)
    trees = [_as_tree(*layer) for layer in layers]
    try:
        return typing.cast(Config, OmegaConf.to_object(OmegaConf.merge(empty, *trees)))
    except Exception as error:
        if _is_refusal(error):  # of which of them, one at a time tells, which takes long
            for layer, tree in zip(layers, trees, strict=True):
                _check_layer(empty, layer, tree)
        raise


def _as_tree(key: str, value: Any, where: str) -> dict[str, Any]:
    """A layer as the nested dict that OmegaConf merges."""
    _check_known(key, where)
    if value is False and _is_text(key):
        value = "off"  # as YAML reads it in a preset
    if isinstance(value, str) and _takes_words(key):
        value = [value]
    choices = known_knobs()[key].choices if key in known_knobs() else ()
    for word in (value if isinstance(value, list) else [value]) if choices else ():
        if word not in choices:
            source = f" (in {where})" if where else ""
            hint = closest(str(word), list(choices))
            raise UserError(f"{key}={word}{source}; allowed: {', '.join(choices)}.{hint}")
    tree: dict[str, Any] = {}
    put(tree, key, value if _is_text(key) else _number(value))
    return tree


def _check_layer(empty: Any, layer: Layer, tree: dict[str, Any]) -> None:
    """UserError when a layer alone does not fit."""
    from omegaconf import OmegaConf

    key, value, where = layer
    try:
        OmegaConf.merge(empty, tree)
    except Exception as error:
        if not _is_refusal(error):
            raise
        reason = str(error).splitlines()[0]
        expected = _type_name(known_knobs()[key]) if key in known_knobs() else "any"
        source = f" (in {where})" if where else ""
        raise UserError(f"{key}={value}{source}: {reason}; allowed: {expected}") from error


def _is_refusal(error: Exception) -> bool:
    """Whether OmegaConf says that a value does not fit, for which it has errors of many kinds, or our own checks do."""
    from omegaconf.errors import OmegaConfBaseException

    return isinstance(error, UserError | OmegaConfBaseException) or raised_within(error, "omegaconf")


def _get(tree: dict[str, Any], key: str) -> Any:
    """The value at a dotted key; None where there is none."""
    found: Any = tree
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _show(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict | list | tuple | bool) else str(value)


def _type_name(one: Knob) -> str:
    """A knob's type, or the words that are allowed: `int`, `all|train|test`."""
    if one.choices:
        words = "|".join(one.choices)
        return f"[{words}, …]" if one.kind.startswith("list") else words
    if one.kind.startswith("Literal["):
        return one.kind.removeprefix("Literal[").rstrip("]").replace('"', "").replace("'", "").replace(", ", "|")
    return one.kind
