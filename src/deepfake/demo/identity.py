"""Who a rendered person is: every trait that stays the same from frame to frame, drawn at random."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from deepfake.demo.fields import Rgb
from deepfake.demo.palette import (
    DARK_EYES,
    DARK_HAIR,
    DYED_HAIR,
    FABRICS,
    FAIR_EYES,
    FAIR_HAIR,
    GLASSES_RIMS,
    GREY_HAIR,
    SKIN_TONES,
    WALLS,
)

HairStyle = Literal["bald", "buzz", "short", "parted", "bob", "long", "wavy", "curly", "bun", "beanie"]
Garment = Literal["tee", "vneck", "shirt", "hoodie", "blazer"]
Pattern = Literal["plain", "stripes", "check", "knit"]
Backdrop = Literal["wall", "window", "shelves", "outdoors", "curtain"]


@dataclass(frozen=True)
class Skull:
    """Outline and relief of the face, in face units."""

    half_width: float
    jaw: float  # exponent of the lower outline: 2 is an oval, 3 a square jaw
    taper: float  # how much narrower the face becomes towards the chin
    cheek: float  # height of the cheekbones
    nose_width: float
    nose_height: float
    nose_tip_v: float


@dataclass(frozen=True)
class Eyes:
    """Eyes and brows, in face units."""

    half_gap: float
    half_width: float
    half_height: float
    tilt: float
    iris_rgb: Rgb
    makeup: float
    brow_v: float
    brow_thickness: float
    brow_arch: float


@dataclass(frozen=True)
class Mouth:
    """Lips, in face units."""

    v: float
    half_width: float
    upper: float
    lower: float
    redness: float


@dataclass(frozen=True)
class Hair:
    """Hair of the head and of the face."""

    style: HairStyle
    rgb: Rgb
    volume: float
    hairline_v: float
    part_u: float
    beard: float  # 0 none, .3 stubble, 1 full
    moustache: float
    hat_rgb: Rgb


@dataclass(frozen=True)
class Scene:
    """Clothes, background, light and camera."""

    garment: Garment
    pattern: Pattern
    fabric_rgb: Rgb
    second_rgb: Rgb
    shoulder: float
    backdrop: Backdrop
    wall_rgb: Rgb
    light_uvz: tuple[float, float, float]  # unit vector from the face to the key light
    fill: float  # share of the light that comes from everywhere
    tint_rgb: Rgb  # white balance
    grain: float  # standard deviation of the camera's noise at mid grey, in levels of 255


@dataclass(frozen=True)
class Identity:
    """One person in one place. `seed` settles what is pure texture: pores, freckles, strands, shelves."""

    seed: int
    skin_rgb: Rgb
    age: float  # 0 young, 1 old
    freckles: float
    glasses: float  # 0 none, else thickness of the rim in face units
    glasses_rgb: Rgb
    lens_power: float  # 2 round glasses, 4 nearly square ones
    skull: Skull
    eyes: Eyes
    mouth: Mouth
    hair: Hair
    scene: Scene


def sample_identity(rng: np.random.Generator) -> Identity:
    """Draw a person. Traits vary independently, but for a few ties (skin, hair and eye colour; age and grey)."""
    tone = float(rng.uniform(0, len(SKIN_TONES) - 1))
    age = float(rng.beta(1.3, 1.8))
    masculine = bool(rng.random() < 0.5)
    hair = _sample_hair(rng, tone=tone, age=age, masculine=masculine)
    return Identity(
        seed=int(rng.integers(2**31)),
        skin_rgb=_skin(rng, tone),
        age=age,
        freckles=float(rng.random() < 0.3) * float(rng.uniform(0.3, 1.0)) * (tone < 2.5),
        glasses=float(rng.choice([0.0, 0.0, 0.0, 0.018, 0.032])),
        glasses_rgb=_pick(rng, GLASSES_RIMS),
        lens_power=float(rng.uniform(2.0, 4.5)),
        skull=_sample_skull(rng, masculine=masculine),
        eyes=_sample_eyes(rng, tone=tone, masculine=masculine),
        mouth=_sample_mouth(rng, masculine=masculine),
        hair=hair,
        scene=_sample_scene(rng),
    )


def dress_as(actor: Identity, target: Identity) -> Identity:
    """The actor with the target's light, glasses and beard: what a forger takes care of before swapping faces."""
    rgb = target.hair.rgb if target.hair.beard else actor.hair.rgb
    return replace(
        actor,
        glasses=target.glasses,
        glasses_rgb=target.glasses_rgb,
        lens_power=target.lens_power,
        hair=replace(actor.hair, rgb=rgb, beard=target.hair.beard, moustache=target.hair.moustache),
        scene=target.scene,
    )


def _pick(rng: np.random.Generator, choices: tuple[Rgb, ...]) -> Rgb:
    """One of the colours, slightly varied."""
    rgb = np.asarray(choices[rng.integers(len(choices))]) * rng.uniform(0.88, 1.12) * rng.uniform(0.96, 1.04, 3)
    return tuple(np.clip(rgb, 0.03, 0.97).tolist())


def _skin(rng: np.random.Generator, tone: float) -> Rgb:
    """A skin colour between two neighbouring anchors; tone 0 is the lightest."""
    anchors, low = np.asarray(SKIN_TONES), min(int(tone), len(SKIN_TONES) - 2)
    rgb = anchors[low] + (anchors[low + 1] - anchors[low]) * (tone - low)
    return tuple((rgb * rng.uniform(0.97, 1.03, 3)).tolist())


def _sample_skull(rng: np.random.Generator, *, masculine: bool) -> Skull:
    """Outline of the face; masculine ones are a little broader with a squarer jaw."""
    return Skull(
        half_width=float(rng.uniform(0.67, 0.77)) + 0.02 * masculine,
        jaw=float(rng.uniform(1.95, 2.4)) + 0.3 * masculine,
        taper=float(rng.uniform(0.06, 0.2)),
        cheek=float(rng.uniform(0.3, 1.0)),
        nose_width=float(rng.uniform(0.8, 1.2)) + 0.05 * masculine,
        nose_height=float(rng.uniform(0.75, 1.2)),
        nose_tip_v=float(rng.uniform(0.2, 0.27)),
    )


def _sample_eyes(rng: np.random.Generator, *, tone: float, masculine: bool) -> Eyes:
    """Eyes and brows; fair skin has fair eyes more often."""
    fair = rng.random() < max(0.0, 0.75 - 0.3 * tone)
    return Eyes(
        half_gap=float(rng.uniform(0.305, 0.345)),
        half_width=float(rng.uniform(0.135, 0.165)),
        half_height=float(rng.uniform(0.062, 0.088)),
        tilt=float(rng.uniform(-0.03, 0.045)),
        iris_rgb=_pick(rng, FAIR_EYES if fair else DARK_EYES),
        makeup=0.0 if masculine else float(rng.uniform(0, 1)),
        brow_v=float(rng.uniform(-0.4, -0.33)),
        brow_thickness=float(rng.uniform(0.028, 0.042)) + 0.012 * masculine,
        brow_arch=float(rng.uniform(0.02, 0.08)),
    )


def _sample_mouth(rng: np.random.Generator, *, masculine: bool) -> Mouth:
    """Lips, painted at times."""
    return Mouth(
        v=float(rng.uniform(0.5, 0.56)),
        half_width=float(rng.uniform(0.235, 0.29)),
        upper=float(rng.uniform(0.045, 0.075)) - 0.008 * masculine,
        lower=float(rng.uniform(0.065, 0.1)) - 0.008 * masculine,
        redness=float(rng.uniform(0.25, 0.55)) + (0.0 if masculine else float(rng.uniform(0, 0.45))),
    )


def _sample_hair(rng: np.random.Generator, *, tone: float, age: float, masculine: bool) -> Hair:
    """A haircut, its colour (grey with age), and a beard at times."""
    styles: tuple[HairStyle, ...]
    if masculine:
        styles = ("bald", "buzz", "short", "short", "parted", "parted", "curly", "beanie", "wavy")
    else:
        styles = ("bob", "bob", "long", "long", "wavy", "wavy", "curly", "bun", "short", "beanie")
    rgb = np.asarray(_pick(rng, FAIR_HAIR if rng.random() < 0.7 - 0.25 * tone else DARK_HAIR))
    bearded = masculine and rng.random() < 0.5
    style = styles[rng.integers(len(styles))]
    if style not in ("bald", "buzz", "beanie") and not bearded and rng.random() < 0.08:
        rgb = np.asarray(_pick(rng, DYED_HAIR))
    grey = float(np.clip((age - 0.55) * 2.5, 0, 0.9))
    return Hair(
        style=style,
        rgb=tuple((rgb + grey * (np.asarray(GREY_HAIR) - rgb)).tolist()),
        volume=float(rng.uniform(0.0, 0.12)),
        hairline_v=float(rng.uniform(-0.74, -0.6)) - 0.1 * age * masculine,
        part_u=float(rng.choice([-1, 1]) * rng.uniform(0.05, 0.4)),
        beard=float(rng.choice([0.3, 0.5, 1.0])) if bearded else 0.0,
        moustache=float(rng.uniform(0.4, 1.0)) if bearded and rng.random() < 0.8 else 0.0,
        hat_rgb=_pick(rng, FABRICS),
    )


def _sample_scene(rng: np.random.Generator) -> Scene:
    """Clothes, place, light and camera."""
    angle, height = rng.uniform(-0.9, 0.9), rng.uniform(0.25, 0.7)
    light = np.array([np.sin(angle), -height, np.cos(angle)])
    warmth = rng.uniform(-0.06, 0.06)
    return Scene(
        garment=("tee", "vneck", "shirt", "hoodie", "blazer")[rng.integers(5)],
        pattern=("plain", "plain", "stripes", "check", "knit")[rng.integers(5)],
        fabric_rgb=_pick(rng, FABRICS),
        second_rgb=_pick(rng, FABRICS),
        shoulder=float(rng.uniform(1.45, 1.9)),
        backdrop=("wall", "window", "shelves", "outdoors", "curtain")[rng.integers(5)],
        wall_rgb=_pick(rng, WALLS),
        light_uvz=tuple((light / np.linalg.norm(light)).tolist()),
        fill=float(rng.uniform(0.35, 0.6)),
        tint_rgb=(1.0 + float(warmth), 1.0, 1.0 - float(warmth)),
        grain=float(rng.uniform(2.0, 4.5)),
    )
