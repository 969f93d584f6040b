"""How like what a detector was trained on a crop is: what lies far from it gets a logit nearer to "unsure".

A classifier's logit grows with the distance from its line, whether or not anything of the kind was ever seen. So the
crops of the training are described by what the middle of the backbone sees of them (the last layers have forgotten all
but the classes): the directions in which that spreads, about the mean of each class (Lee et al., "A simple unified
framework for detecting out-of-distribution samples", 2018, with the tail of directions pooled as in probabilistic
principal components). A logit shrinks by how much further out its crop lies than the crops that were held out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FAMILIARITY = "familiarity."  # begins the names of its tensors in a weight file
DIRECTIONS = 128  # that are told apart; the rest is pooled
PER_DIRECTION = 4  # crops, at the least
LEAST_LEFT = 0.3  # before it is taken to that power: order is kept a long way out
QUIETEST = 0.01  # of the middle channel's deviation: what hardly ever stirs in training says nothing
POWER = 8.0  # of the distance by which logits shrink: half as far again leaves a twenty-fifth


class Familiarity(nn.Module):
    """looks_ND (see looks_of) → (N,) in (0, 1]: what is left of each logit.

    stages: (2,) which maps of the backbone are looked at. scales_D: deviation of each number. means_CD: of each class
    that was trained on, of numbers in deviations; so is what follows. axes_DK: orthonormal directions. spreads_K, rest:
    deviations along them and along every other direction. reach: the distance up to which all is left.
    """

    stages: Tensor
    scales_D: Tensor
    means_CD: Tensor
    axes_DK: Tensor
    spreads_K: Tensor
    rest: Tensor
    reach: Tensor

    def __init__(self, **parts: Tensor) -> None:
        super().__init__()
        if parts.keys() != self.__annotations__.keys():
            raise ValueError(f"familiarity of {', '.join(sorted(parts))}, not of {', '.join(self.__annotations__)}")
        for name, value in parts.items():
            self.register_buffer(name, value)
        self.indices: list[int] = parts["stages"].tolist()

    def forward(self, looks_ND: Tensor) -> Tensor:
        return (self.reach / self.distances(looks_ND)).clamp(LEAST_LEFT, 1) ** POWER

    def distances(self, looks_ND: Tensor) -> Tensor:
        """(N,) Mahalanobis distances from the nearer class. In double precision, which mixed precision leaves alone."""
        beside_NCD = (looks_ND.double() / self.scales_D)[:, None] - self.means_CD
        along_NCK = beside_NCD @ self.axes_DK.double()
        beyond_NC = (beside_NCD.square().sum(-1) - along_NCK.square().sum(-1)).clamp(min=0)
        squares_NC = (along_NCK / self.spreads_K).square().sum(-1) + beyond_NC / self.rest.square()
        return squares_NC.amin(1).sqrt().clamp(min=1e-6).float()


def middle_stages(backbone: nn.Module, inputs_NCHW: Tensor) -> list[int]:
    """Which two of the maps that timm tells of a backbone are looked at. inputs: as the backbone sees them."""
    count = len(backbone.forward_intermediates(inputs_NCHW)[1])
    return [min(count // 2 + more, count - 1) for more in (0, 1)]


def looked_at(backbone: nn.Module, inputs_NCHW: Tensor, stages: list[int]) -> tuple[Tensor, Tensor]:
    """Embeddings (N, E), as the classifier sees them, and what these of the backbone's maps see: looks_of them."""
    last, maps = backbone.forward_intermediates(inputs_NCHW, indices=stages)
    return backbone.forward_head(last, pre_logits=True), looks_of(maps)


def looks_of(maps: list[Tensor]) -> Tensor:
    """(N, D) float32: mean and deviation of each channel of maps (N, C, H, W)."""
    flat = [one.float().flatten(2) for one in maps]
    return torch.cat([part for one in flat for part in (one.mean(2), one.std(2, correction=0))], 1)


def fit_familiarity(
    stages: list[int], looks_ND: Tensor, labels_N: Tensor, held_out_ND: Tensor, beyond: float
) -> Familiarity:
    """The familiarity of crops that were trained on. held_out_ND: of crops that were not; the share `beyond` of them
    lies out of reach. ValueError where there are none, or a number is not finite.
    """
    if not len(looks_ND) or not len(held_out_ND):
        raise ValueError("no crop to measure by")
    if not (torch.isfinite(looks_ND).all() and torch.isfinite(held_out_ND).all()):
        raise ValueError("what the backbone sees of a crop is not finite")
    looks_ND = looks_ND.double()
    scales_D = looks_ND.std(0, correction=0)
    scales_D = scales_D.clamp(min=QUIETEST * scales_D.median()) + 1e-6
    looks_ND = looks_ND / scales_D
    classes, of_class = labels_N.unique(return_inverse=True)
    means_CD = torch.stack([looks_ND[of_class == number].mean(0) for number in range(len(classes))])
    beside_ND = looks_ND - means_CD[of_class]
    variances, axes = torch.linalg.eigh(beside_ND.T @ beside_ND / len(beside_ND))  # ascending
    count = max(1, min(DIRECTIONS, len(beside_ND) // PER_DIRECTION, len(variances) - 1))
    least = (QUIETEST * variances.clamp(min=0).mean() + 1e-12).item()
    fitted = Familiarity(
        stages=torch.tensor(stages),
        scales_D=scales_D.float(),
        means_CD=means_CD.float(),
        axes_DK=axes[:, -count:].float(),
        spreads_K=variances[-count:].clamp(min=least).sqrt().float(),
        rest=variances[:-count].clamp(min=0).mean().clamp(min=least).sqrt().float(),
        reach=torch.ones(()),
    )
    fitted.reach = fitted.distances(held_out_ND).quantile(1 - beyond)
    return fitted
