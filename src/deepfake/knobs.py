"""What a knob is: a typed field of the configuration with a default, a range and a line of help; and walking a tree of
them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from deepfake.errors import UserError, closest


@dataclass(frozen=True)
class Knob:
    """One knob of a configuration."""

    key: str
    """Dotted, as it is typed: `train.epochs`."""
    kind: str
    """The field's annotation as it is written: `int`, `list[str]`, `Literal["a", "b"]`."""
    about: str
    low: float | None
    high: float | None
    """Inclusive ends of the range; None = open."""
    shapes: bool
    """Whether results depend on it."""
    choices: tuple[str, ...]
    """The words that are allowed; () = any."""
    value: Any


def knob(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    shapes: bool = True,
    choices: Callable[[], Iterable[str]] = tuple,
) -> Any:
    """A field with a line of help.

    low, high: an inclusive range. shapes: whether results depend on its value. choices: gives the words that are
    allowed, where another module lists them.
    """
    metadata = {"help": help, "low": low, "high": high, "shapes": shapes, "choices": choices}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def knobs(config: Any, prefix: str = "") -> Iterator[Knob]:
    """Every knob below a section, with its value there, in order of definition."""
    for item in fields(config):
        value, given = getattr(config, item.name), item.metadata
        if dataclasses.is_dataclass(value):
            yield from knobs(value, f"{prefix}{item.name}.")
        else:
            key, ends, choices = f"{prefix}{item.name}", (given["low"], given["high"]), tuple(given["choices"]())
            yield Knob(key, str(item.type), given["help"], *ends, given["shapes"], choices, value)


def is_below(key: str, keys: tuple[str, ...]) -> bool:
    """Whether a dotted key is one of these, or lies in a section that is."""
    return key in keys or key.split(".", maxsplit=1)[0] in keys


def shaping(config: Any, *keys: str) -> dict[str, Any]:
    """The part of the configuration that shapes results, below the given sections or keys, as plain JSON values."""
    picked: dict[str, Any] = {}
    for one in knobs(config):
        if one.shapes and is_below(one.key, keys):
            put(picked, one.key, plain(one.value))
    return picked


def resolved(config: Any) -> dict[str, Any]:
    """The whole configuration as plain JSON values."""
    return dict(plain(dataclasses.asdict(config)))


def check(one: Knob) -> None:
    """UserError when a value is none of the choices, or it, or one of several, lies outside its range."""
    several = isinstance(one.value, Sequence) and not isinstance(one.value, str)  # OmegaConf has lists of its own
    values = one.value if several else (one.value,)
    for value in values if one.choices else ():
        if value not in one.choices:
            hint = closest(str(value), list(one.choices))
            raise UserError(f"{one.key}={value}; allowed: {', '.join(one.choices)}.{hint}")
    for number in values:
        below = one.low is not None and not number >= one.low
        above = one.high is not None and not number <= one.high
        if below or above or number in (math.inf, -math.inf):
            allowed = f"{one.low} to {one.high}" if one.high is not None else f"{one.low} or more"
            raise UserError(f"{one.key}={one.value}; allowed: {allowed}")


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set the value at a dotted key of nested dicts."""
    *parents, leaf = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[leaf] = value


def with_defaults(tree: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Nested dicts with what they lack from the defaults: keys that are younger than they are."""
    known = {
        key: with_defaults(tree.get(key, {}), default) if isinstance(default, dict) else tree.get(key, default)
        for key, default in defaults.items()
    }
    return tree | known


def plain(value: Any) -> Any:
    """Paths to text, tuples to lists: what JSON gives back."""
    return json.loads(json.dumps(value, default=str))
