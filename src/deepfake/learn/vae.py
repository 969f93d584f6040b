"""The autoencoders of diffusers, where it is installed, as reconstructors of pictures."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from deepfake.errors import UserError


class Vae(nn.Module):
    """pictures_NCHW in [-1, 1], of sides that 8 divides → what the autoencoder makes of them, by its latent's mode."""

    def __init__(self, coder: nn.Module) -> None:
        super().__init__()
        self.coder = coder

    def forward(self, pictures_NCHW: Tensor) -> Tensor:
        return self.coder.decode(self.coder.encode(pictures_NCHW).latent_dist.mode()).sample


def load_vae(name: str, device: torch.device) -> Vae:
    """An AutoencoderKL: a folder, or a name on diffusers' hub (`owner/name`, or `owner/name/vae` for a folder in it).

    UserError where diffusers is not installed, or the autoencoder cannot be had.
    """
    try:
        from diffusers import AutoencoderKL
    except ImportError as error:
        raise UserError(f"forge.vae={name} needs diffusers, which is not installed: pip install diffusers") from error
    hub, _, inner = (name, "", "") if os.path.isdir(name) or name.count("/") < 2 else name.rpartition("/")
    try:
        coder = AutoencoderKL.from_pretrained(hub, **({"subfolder": inner} if inner else {}))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"forge.vae={name} cannot be had ({reason}): give a folder with its config.json") from error
    return Vae(coder).to(device).eval()
