"""Small autoencoders that learn to copy a data set's own reals: what they give back carries the traces of generators.

Every picture of a latent diffusion model comes out of an autoencoder's decoder, and a detector that learned to tell
real pictures from their own reconstructions finds such pictures (aligned pairs: Rajan et al., 2025; DDA: Chen et al.,
2025). A blurred copy would teach nothing but blur, so these train against a discriminator.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepfake.errors import UserError
from deepfake.files import replacing
from deepfake.forgery.arrays import Array, Image

WIDTHS = (24, 48, 64, 96)  # channels at full size, at a half, at a quarter, at an eighth
LEARNING_RATE, CRITIC_LEARNING_RATE = 3e-3, 4e-4
WARM_UP = 0.25  # share of the steps before the discriminator has a say
GRADIENT, FEATURES, ADVERSARIAL = 1.0, 1.0, 0.1  # weights of the losses beside the mean absolute error
EDGE = 16  # px of reflection around a picture, so that it shows no border of the convolutions


@dataclass(frozen=True)
class CoderSpec:
    """What makes the same autoencoder again."""

    enlarge: str
    """One of ENLARGE."""
    halvings: int
    """2 or 3: the latent has a quarter, or an eighth, of the picture's side."""
    latent: int
    """Channels of the latent beside the picture itself, shrunk to that size."""


CODERS = {
    "nearest": CoderSpec("nearest", 2, 8),  # as in latent diffusion
    "transposed": CoderSpec("transposed", 2, 4),  # as in the first GANs
    "shuffle": CoderSpec("shuffle", 3, 24),
    "bilinear": CoderSpec("bilinear", 2, 4),  # as in StyleGAN
}


class _Repeat(nn.Module):
    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def forward(self, features_NCHW: Tensor) -> Tensor:
        return F.interpolate(features_NCHW, scale_factor=2.0, mode=self.mode)


def _conv(inputs: int, outputs: int, side: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, side, stride, padding=(side - 1) // 2)


ENLARGE: dict[str, Callable[[int, int], list[nn.Module]]] = {
    "nearest": lambda inputs, outputs: [_Repeat("nearest"), _conv(inputs, outputs)],
    "bilinear": lambda inputs, outputs: [_Repeat("bilinear"), _conv(inputs, outputs)],
    "transposed": lambda inputs, outputs: [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)],
    "shuffle": lambda inputs, outputs: [_conv(inputs, 4 * outputs), nn.PixelShuffle(2)],
}


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.SiLU(), _conv(width, width), nn.SiLU(), _conv(width, width))

    def forward(self, features_NCHW: Tensor) -> Tensor:
        return features_NCHW + self.body(features_NCHW)


class Coder(nn.Module):
    """pictures_NCHW in [-1, 1], of sides that 8 divides → the same, through the latent.

    Part of the latent is the picture, shrunk. What the decoder draws is added to that, enlarged: so colours and
    coarse shapes need not be learned, and a short training goes into detail.
    """

    def __init__(self, spec: CoderSpec) -> None:
        super().__init__()
        full, *widths = WIDTHS[: spec.halvings + 1]
        encoder: list[nn.Module] = [nn.PixelUnshuffle(2), _conv(12, widths[0])]
        for wide, wider in itertools.pairwise(widths):
            encoder += [nn.SiLU(), _conv(wide, wider, 4, 2), _Residual(wider)]
        decoder: list[nn.Module] = [nn.Conv2d(spec.latent + 3, widths[-1], 1), _Residual(widths[-1])]
        for wide, narrow in itertools.pairwise(widths[::-1]):
            decoder += [*ENLARGE[spec.enlarge](wide, narrow), _Residual(narrow)]
        decoder += [nn.SiLU(), *ENLARGE[spec.enlarge](widths[0], full), nn.SiLU(), _conv(full, full), nn.SiLU()]
        self.encoder = nn.Sequential(*encoder, nn.SiLU(), nn.Conv2d(widths[-1], spec.latent, 1))
        self.decoder = nn.Sequential(*decoder, _conv(full, 3))
        self.scale = 2**spec.halvings

    def forward(self, pictures_NCHW: Tensor) -> Tensor:
        small = F.avg_pool2d(pictures_NCHW, self.scale)
        latent = torch.cat([3 * torch.tanh(self.encoder(pictures_NCHW) / 3), small], 1)
        return F.interpolate(small, scale_factor=float(self.scale), mode="bilinear") + self.decoder(latent)


class _Critic(nn.Module):
    """Pictures, and what a blur takes from them → features at three depths, and a score of each patch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = _conv(6, 32, 4, 2), _conv(32, 64, 4, 2)
        self.third, self.score = _conv(64, 64), _conv(64, 1)

    def forward(self, pictures_NCHW: Tensor) -> tuple[list[Tensor], Tensor]:
        soft = F.avg_pool2d(F.pad(pictures_NCHW, (1, 1, 1, 1), mode="reflect"), 3, 1)
        features = [torch.cat([pictures_NCHW, 4 * (pictures_NCHW - soft)], 1)]
        for layer in (self.first, self.second, self.third):
            features.append(F.leaky_relu(layer(features[-1]), 0.2))
        return features[1:], self.score(features[-1])


class CoderTraining:
    """An autoencoder in training against a discriminator (hinge loss), a step a call.

    Losses of the autoencoder: mean absolute errors of pixels, of their differences to the neighbours, and of the
    discriminator's features, and the discriminator's score.
    """

    def __init__(self, spec: CoderSpec, *, steps: int, seed: int, device: torch.device) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            coder, critic = Coder(spec), _Critic()
        self.coder = coder.to(device, memory_format=torch.channels_last)
        self.critic = critic.to(device, memory_format=torch.channels_last)
        self.device, self.steps, self.step = device, steps, 0
        self.optimiser = torch.optim.Adam(self.coder.parameters(), lr=LEARNING_RATE, betas=(0.5, 0.95))
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), lr=CRITIC_LEARNING_RATE, betas=(0.5, 0.95))
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.1
        )

    def take_step(self, patches_NHW3: Image) -> float:
        """Learn from a batch; gives the mean absolute error of its pixels, in levels of 255."""
        real = _as_input(patches_NHW3, self.device)
        made = self.coder(real)
        error = F.l1_loss(made, real)
        loss = error + GRADIENT * _slopes_apart(made, real)
        if self.step >= WARM_UP * self.steps:
            loss = loss + self._by_critic(real, made)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.coder.parameters(), 1.0)
        self.optimiser.step()
        self.schedule.step()
        self.step += 1
        return float(error.detach()) * 127.5

    def _by_critic(self, real: Tensor, made: Tensor) -> Tensor:
        """One step of the discriminator, then what it holds against the reconstruction."""
        _, of_real = self.critic(real)
        _, of_made = self.critic(made.detach())
        self.critic_optimiser.zero_grad(set_to_none=True)
        (F.relu(1 - of_real).mean() + F.relu(1 + of_made).mean()).backward()
        self.critic_optimiser.step()
        self.critic.requires_grad_(False)
        with torch.no_grad():
            wanted, _ = self.critic(real)
        features, score = self.critic(made)
        self.critic.requires_grad_(True)
        alike = torch.stack([F.l1_loss(own, want) for own, want in zip(features, wanted, strict=True)]).sum()
        return FEATURES * alike - ADVERSARIAL * score.mean()


def patches_of(pictures: list[Image], side: int, count: int, seed: int) -> Iterator[Image]:
    """Batches (count, side, side, 3) without end: windows of the pictures, half of them mirrored; a picture that is
    smaller is repeated by reflection."""
    rng = np.random.default_rng(seed)
    missing = [[(0, max(0, side - length)) for length in picture.shape[:2]] for picture in pictures]
    pictures = [np.pad(one, (*beyond, (0, 0)), mode="symmetric") for one, beyond in zip(pictures, missing, strict=True)]
    while True:
        windows = []
        for number in rng.integers(len(pictures), size=count):
            picture = pictures[number]
            top, left = rng.integers(0, (picture.shape[0] - side + 1, picture.shape[1] - side + 1))
            window = picture[top : top + side, left : left + side]
            windows.append(window[:, ::-1] if rng.random() < 0.5 else window)
        yield np.stack(windows)


@torch.inference_mode()
def reconstruct(coder: nn.Module, picture_HW3: Image, device: torch.device) -> Array:
    """What the autoencoder, in eval mode on the device, makes of a picture: (H, W, 3) float32, 0..255, not clipped."""
    height, width = picture_HW3.shape[:2]
    around = [(EDGE, EDGE + -side % 8) for side in (height, width)]
    padded = np.pad(picture_HW3, (*around, (0, 0)), mode="symmetric")
    made = coder(_as_input(padded[None], device))[0, :, EDGE : EDGE + height, EDGE : EDGE + width]
    return ((made.float() + 1) * 127.5).permute(1, 2, 0).cpu().numpy()


def save_coder(coder: Coder, path: Path) -> None:
    """Its weights, as safetensors, whole or not at all."""
    from safetensors.torch import save_file

    with replacing(path) as temporary:
        save_file({name: value.cpu().contiguous() for name, value in coder.state_dict().items()}, temporary)


def load_coder(path: Path, spec: CoderSpec, device: torch.device) -> Coder:
    """What save_coder wrote, in eval mode on the device. UserError where it is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    coder = Coder(spec)
    try:
        coder.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise UserError(f"{path} is damaged: remove {path.parent}, and it is trained again") from error
    return coder.to(device, memory_format=torch.channels_last).eval()


def _slopes_apart(made_NCHW: Tensor, real_NCHW: Tensor) -> Tensor:
    apart = made_NCHW - real_NCHW
    return apart.diff(dim=2).abs().mean() + apart.diff(dim=3).abs().mean()


def _as_input(pictures_NHW3: Image, device: torch.device) -> Tensor:
    pictures = torch.from_numpy(np.ascontiguousarray(pictures_NHW3)).to(device).permute(0, 3, 1, 2)
    return (pictures.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
