"""The sections of the configuration that shape a training: model, augmentation, optimiser, and how it goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from deepfake.knobs import knob
from deepfake.tables import FORGERIES, FRONT_NAMES


@dataclass(frozen=True)
class ModelConfig:
    name: str = knob("tf_efficientnet_b0.ns_jft_in1k", "any model of timm, by name")
    pretrained: bool = knob(True, "start from timm's weights, fetched from its hub; model.weights goes before it")
    weights: str = knob("", "start from this local file: .safetensors, or .pth readable with weights_only")
    image_size: int = knob(0, "side of the model's input, px; 0 = the model's own", low=0, high=2048)
    resize: bool = knob(True, "shrink or enlarge crops to that side; false = keep their pixels, take the middle")
    front: str = knob("rgb", f"what the model sees: {', '.join(FRONT_NAMES)}, or several side by side, as in rgb+npr")
    windows: int = knob(
        1,
        "windows of that side that a crop is scored by, logits averaged: 5 = middle and corners, 9 = grid of 3 x 3",
        low=1,
        high=9,
    )
    window_choice: Literal["spread", "texture"] = knob(
        "spread", "texture: the windows of most texture, for large pictures (crop.mode=whole, model.resize=false)"
    )
    mean: tuple[float, ...] = knob((), "mean of the input's three channels, 0 to 1; empty = the model's own")
    std: tuple[float, ...] = knob((), "deviation of the input's three channels; empty = the model's own", low=0.001)
    drop_rate: float = knob(0.0, "dropout before the last layer", low=0, high=1)
    drop_path_rate: float = knob(
        0.0, "stochastic depth: share of branches left out; 0 = the model's own", low=0, high=1
    )
    kwargs: dict[str, Any] = knob({}, "further arguments of timm.create_model, e.g. model.kwargs.pad_type=same")


@dataclass(frozen=True)
class AugmentConfig:
    random_crop: int = knob(0, "side of a random window that training sees instead of the middle, px; 0 = off", low=0)
    sizes: tuple[float, float] = knob(
        (1.0, 1.0),
        "range of factors by which half of the crops are shrunk or enlarged before training takes its window",
        low=0.05,
        high=8,
    )
    min_area: float = knob(
        1.0, "smallest share of the area that a random, resized window shows; 1 = off", low=0.01, high=1
    )
    hflip: float = knob(0.5, "probability of a horizontal flip", low=0, high=1)
    shift_scale_rotate: float = knob(0.5, "probability of a small shift, scale and turn", low=0, high=1)
    scale: float = knob(0.1, "largest change of scale", low=0, high=0.9)
    rotate_deg: float = knob(10.0, "largest turn, degrees", low=0, high=180)
    colour: float = knob(0.5, "probability of a change of brightness, contrast, hue and saturation", low=0, high=1)
    grey: float = knob(0.0, "probability of a grey picture", low=0, high=1)
    clahe: float = knob(0.0, "probability of CLAHE on the L of LAB", low=0, high=1)
    contrast: float = knob(0.0, "probability of brightness and contrast stretched to the full range", low=0, high=1)
    rescale: float = knob(0.0, "probability of shrinking and enlarging again, by a random interpolation", low=0, high=1)
    blur: float = knob(0.1, "probability of a Gaussian blur", low=0, high=1)
    blur_sigma_range: tuple[float, float] = knob((0.1, 1.5), "sigma of that blur, px", low=0, high=20)
    noise: float = knob(0.1, "probability of Gaussian noise", low=0, high=1)
    jpeg: float = knob(0.3, "probability of JPEG compression", low=0, high=1)
    jpeg_quality_range: tuple[int, int] = knob((60, 100), "JPEG qualities", low=1, high=100)
    damage: float = knob(
        0.0,
        "probability of one to three steps of what happens on the way (resizing, JPEG, WebP, blur, noise, …), each of "
        "random strength",
        low=0,
        high=1,
    )
    frequency_mask: float = knob(
        0.0, "probability that a random 15 % of a crop's Fourier coefficients are set to zero", low=0, high=1
    )
    erase_parts: float = knob(
        0.0, "probability that eyes, nose or mouth are blacked out, by the landmarks", low=0, high=1
    )
    erase_half: float = knob(0.0, "probability that half of the face is blacked out, by the landmarks", low=0, high=1)
    pair_mixup: float = knob(0.0, "probability that a fake is mixed with its aligned original", low=0, high=1)
    pair_mixup_alpha: float = knob(0.5, "Beta(alpha, alpha) of that mixture", low=0.01, high=10)
    mixup: float = knob(0.0, "Beta(alpha, alpha) of mixing any two crops of a batch; 0 = off", low=0, high=10)
    cutmix: float = knob(0.0, "Beta(alpha, alpha) of pasting windows between crops of a batch; 0 = off", low=0, high=10)


@dataclass(frozen=True)
class OptimConfig:
    name: str = knob("adamw", "optimiser, by timm's name: adamw, sgd (nesterov), momentum, lion, lamb, …")
    lr: float = knob(3e-4, "peak learning rate", low=0)
    weight_decay: float = knob(1e-2, "weight decay; norms and biases have none", low=0)
    momentum: float = knob(0.9, "momentum, where the optimiser has one", low=0, high=1)
    kwargs: dict[str, Any] = knob({}, "further arguments of the optimiser, e.g. optim.kwargs.betas=[0.9,0.95]")
    layer_decay: float = knob(
        1.0, "factor on the learning rate from each layer to the one before it; 1 = off", low=0.01, high=1
    )
    schedule: Literal["cosine", "one_cycle", "poly", "constant"] = knob(
        "cosine", "how the learning rate falls after its peak"
    )
    warmup: float = knob(0.1, "share of a phase's steps in which the learning rate rises to its peak", low=0, high=1)
    power: float = knob(0.9, "exponent of poly; 1 = a straight line", low=0.1, high=10)
    clip_norm: float = knob(0.0, "largest norm of the gradient, 0 = no limit", low=0)


@dataclass(frozen=True)
class PhaseConfig:
    """A stretch of training. What is not given is as in train.epochs and optim.*"""

    trains: str = "all"
    epochs: int | None = None
    optimizer: str | None = None
    lr: float | None = None


@dataclass(frozen=True)
class TrainConfig:
    epochs: int = knob(10, "epochs; of each phase that does not give its own", low=1)
    phases: list[PhaseConfig] = knob(
        [],
        "staged unfreezing, e.g. [{trains: head, epochs: 1, lr: 1e-3}, {trains: all}]; trains: head, last_stage, norm, "
        "all, or a regular expression for names of weights; further keys: optimizer",
    )
    batch_size: int = knob(32, "crops in a step, over all GPUs", low=1)
    accumulate: int = knob(
        1, "pieces in which a step is computed, to save memory; batch norm sees pieces", low=1, shapes=False
    )
    sampler: Literal["balanced", "methods", "pairs", "all"] = knob(
        "balanced",
        "balanced: fakes undersampled to the reals, anew each epoch; methods: the same, methods evenly; pairs: a real "
        "and a fake made from it; all: every medium",
    )
    hold_out: Literal["none", "method", "source"] = knob(
        "none",
        "method: each fold trains without some of the methods, and its epochs are chosen by these, which it never saw; "
        "source: the same with where reals come from, the folders that they lie in",
    )
    forge: list[str] = knob(
        [], f"fakes that are made from the reals as training goes: {', '.join(FORGERIES)}", choices=lambda: FORGERIES
    )
    forge_share: float = knob(
        0.5, "with train.forge, their share of the fakes; 1 = no given fake is trained on", low=0.01, high=1
    )
    frames_per_medium: int = knob(4, "crops drawn from a medium in an epoch", low=1)
    loss: Literal["bce", "focal", "class_mean"] = knob(
        "bce", "cross-entropy; focal loss; or the mean over fakes and the mean over reals, averaged"
    )
    focal_gamma: float = knob(2.0, "focusing exponent of the focal loss", low=0, high=10)
    label_smoothing: float = knob(0.0, "0 and 1 become s/2 and 1 - s/2", low=0, high=0.9)
    mix_fake: float = knob(
        0.0, "probability that a fake's embedding is mixed with a real's, and stays a fake", low=0, high=1
    )
    consistency: float = knob(
        0.0,
        "weight of the disagreement of each crop with a damaged view of itself, in embedding and in P(fake); doubles "
        "the cost of a step",
        low=0,
        high=100,
    )
    average: int = knob(
        0, "so many of the last epochs are validated and kept as the average of their weights; 0 = off", low=0
    )
    doubt: float = knob(
        0.0,
        "what is less like the training than all but this share of the held-out crops gets a logit nearer to 0, which "
        "is unsure; 0 = off",
        low=0,
        high=1,
    )
    ema: float = knob(
        0.0,
        "decay of a moving average of the weights, which is what is validated and kept; 0 = off",
        low=0,
        high=0.99999,
    )
    metric: Literal["auc", "ap", "log_loss", "accuracy", "eer"] = knob(
        "log_loss", "medium-level validation metric whose best epoch is kept"
    )
    amp: Literal["auto", "bf16", "fp16", "off"] = knob("auto", "mixed precision; auto = bf16 or fp16 on CUDA, else off")
    channels_last: bool = knob(True, "keep channels innermost in memory, as fast convolutions want them", shapes=False)
    compile: bool = knob(
        False, "torch.compile the model; needs a C++ compiler, takes minutes, then steps are faster", shapes=False
    )
    sync_bn: bool = knob(False, "batch norm over all GPUs together")
    save_minutes: float = knob(10.0, "a checkpoint at least this often, also within an epoch", low=0, shapes=False)
