"""From defaults, presets and `key=value` arguments to a checked Config, and the help that lists every key.

Precedence: defaults < preset=NAME (configs/NAME.yaml) < key=value on the command line.
"""

from __future__ import annotations

import difflib
import json
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepfake.config import MOMENTARY, OWN_DATA, TRAINED, Config, LayoutName, knobs, plain, put
from deepfake.errors import UserError, closest

Layer = tuple[str, Any, str]  # a dotted key, its value, and where it comes from (empty: the command line)


def load_config(arguments: list[str], beneath: Sequence[Layer] = ()) -> Config:
    """Configuration from `key=value` arguments, over a preset, over what lies `beneath`, over the defaults.

    Without anything of these but the defaults, and without data, it is the preset `demo`. UserError for an unknown key
    (with the nearest), a value of the wrong type or range, an unknown preset.
    """
    overrides = [_parse(argument) for argument in arguments]
    preset = next((value for key, value in reversed(overrides) if key == "preset"), "")
    if not preset and not beneath and not any(key in OWN_DATA for key, _ in overrides):
        preset = "demo"
    layers = [(key, value, f"preset {preset}") for key, value in _flatten(_read_preset(preset))] if preset else []
    return _merge([*beneath, *layers, *((key, value, "") for key, value in overrides), ("preset", preset, "")])


def continue_run(run: str, saved: dict[str, Any], arguments: list[str]) -> Config:
    """The configuration that `run` was trained with (as `resolved` gave it), with `key=value` arguments over it.

    Where the media and the outputs lie is not the run's to say. UserError for what would contradict the training.
    """
    overrides = [_parse(argument) for argument in arguments]
    dropped = ["paths", "name", "fold", "num_workers", "preset"]
    if any(key in OWN_DATA for key, _ in overrides):
        dropped.append("data")
    trained = dict(_flatten(saved))
    dropped += {key for key in trained if not (_is_known(key) or key.split(".")[0] in TRAINED)}  # an older version's
    kept = {key: value for key, value in trained.items() if not {key, key.split(".")[0]} & {*dropped, *MOMENTARY}}
    layers = [(key, value, f"run {run}") for key, value in kept.items()]
    for key, value in overrides:
        before = _get(saved, key)
        if key.split(".")[0] in TRAINED and _shapes(key) and plain(value) != before:
            raise UserError(
                f"{key}={value}, but run {run} was trained with {before}: leave it out, or train another run"
            )
    return _merge([*layers, *((key, value, "") for key, value in overrides), ("name", run, "")])


def continue_submission(path: Path, saved: dict[str, Any], arguments: list[str]) -> Config:
    """The configuration to check a submission by: media, run and format of its writing, and where the tables lay, under
    `key=value` arguments.

    saved: what stands in the submission's config.json, at `path`; nothing where there is none.
    """
    own_data = any(_parse(argument)[0] in (*OWN_DATA, "data.name") for argument in arguments)
    places = ("paths.data", "paths.folds", "paths.runs")
    kept = [
        (key, value, str(path))
        for key, value in _flatten(saved)
        if key in ("name", "submit.format", "infer.sample_submission", *places)
        or (key.startswith("data.") and not own_data)
    ]
    return load_config(arguments, kept)


def help_text(sections: tuple[str, ...]) -> str:
    """One line a knob: key, type, default, help; for the given sections and top-level keys."""
    lines = []
    for key, item, value in knobs(Config()):
        if key in sections or key.split(".")[0] in sections:
            lines.append(f"  {key + '=' + _show(value):<44} {_type_name(item.type):<28} {item.metadata['help']}")
    return "\n".join(lines)


def presets() -> dict[str, Path]:
    """Name → file of every preset that comes with the project."""
    return {path.stem: path for path in sorted(_presets_folder().glob("*.yaml"))}


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
    return {name: item.metadata["shapes"] for name, item, _ in knobs(Config())}.get(key, True)


def _is_text(key: str) -> bool:
    """Whether a knob takes text as it stands."""
    kind = _kind(key)
    return kind in ("str", "Path", "LayoutName") or kind.startswith("Literal")


def _takes_words(key: str) -> bool:
    """Whether a knob is a list of words."""
    return _kind(key) == "list[str]"


def _kind(key: str) -> str:
    """The type of a knob as it is written; empty for arguments of the model."""
    return {name: item.type for name, item, _ in knobs(Config())}.get(key, "")


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
    known = {key for key, _, _ in knobs(Config())}
    flat = []
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and key not in known:
            flat += _flatten(value, f"{key}.")
        else:
            flat.append((key, value))
    return flat


def _is_known(key: str) -> bool:
    known = {name for name, _, _ in knobs(Config())}
    return key in known or key.startswith(("model.kwargs.", "optim.kwargs."))


def _check_known(key: str, where: str) -> None:
    if _is_known(key):
        return
    known = [name for name, _, _ in knobs(Config())]
    if key == "submit":
        raise UserError("submit=… is a section; to hand a file in, write submit.to=kaggle submit.competition=NAME")
    leaves = {name.split(".")[-1]: name for name in reversed(known)}
    near = difflib.get_close_matches(key.rsplit(".", maxsplit=1)[-1], leaves, n=1)
    hint = closest(key, known) or (f" Did you mean {leaves[near[0]]!r}?" if near else "")
    raise UserError(f"unknown key {key!r}{f' in {where}' if where else ''}.{hint} --help prints the keys")


def _merge(layers: list[Layer]) -> Config:
    """Merge dotted keys in order into a checked Config."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    empty, trees = OmegaConf.structured(Config), []
    for key, value, where in layers:
        _check_known(key, where)
        trees.append({})
        if value is False and _is_text(key):
            value = "off"  # as YAML reads it in a preset
        if isinstance(value, str) and _takes_words(key):
            value = [value]
        put(trees[-1], key, value if _is_text(key) else _number(value))
    wrong = (OmegaConfBaseException, ValueError, TypeError, AttributeError)
    try:
        return typing.cast(Config, OmegaConf.to_object(OmegaConf.merge(empty, *trees)))
    except wrong:  # by which of them, one at a time tells, which takes long
        for (key, value, where), tree in zip(layers, trees, strict=True):
            try:
                OmegaConf.merge(empty, tree)
            except wrong as error:
                reason = str(error).splitlines()[0]
                expected = next((_type_name(item.type) for name, item, _ in knobs(Config()) if name == key), "any")
                source = f" (in {where})" if where else ""
                raise UserError(f"{key}={value}{source}: {reason}; allowed: {expected}") from error
        raise


def _get(tree: dict[str, Any], key: str) -> Any:
    """The value at a dotted key; None where there is none."""
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _show(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict | list | tuple | bool) else str(value)


def _type_name(annotation: str) -> str:
    if annotation == "LayoutName":
        annotation = "Literal" + str(list(typing.get_args(LayoutName)))
    if annotation.startswith("Literal["):
        return annotation.removeprefix("Literal[").rstrip("]").replace('"', "").replace("'", "").replace(", ", "|")
    return annotation
