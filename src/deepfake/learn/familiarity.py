"""How like what a detector was trained on a crop is: what lies far from it gets a logit nearer to "unsure".

A classifier's logit grows with the distance from its line, whether or not anything of the kind was ever seen. So the
crops of the training are described by the directions in which their embeddings spread, about the mean of each class
(Lee et al., "A simple unified framework for detecting out-of-distribution samples", 2018, with the tail of directions
pooled as in probabilistic principal components), and a logit shrinks by how much further out its crop lies than the
crops that were held out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FAMILIARITY = "familiarity."  # begins the names of its tensors in a weight file
DIRECTIONS = 128  # that are told apart; the rest is pooled
PER_DIRECTION = 4  # crops, at the least
POWER = 2.0  # of the distance by which logits shrink


class Familiarity(nn.Module):
    """embeddings_ND → (N,) in (0, 1]: what is left of each logit.

    means_CD: of each class that was trained on. axes_DK: orthonormal directions. spreads_K, rest: deviations along
    them and along every other direction. reach: the distance up to which all is left, in deviations.
    """

    means_CD: Tensor
    axes_DK: Tensor
    spreads_K: Tensor
    rest: Tensor
    reach: Tensor

    def __init__(self, means_CD: Tensor, axes_DK: Tensor, spreads_K: Tensor, rest: Tensor, reach: Tensor) -> None:
        super().__init__()
        for name, value in (
            ("means_CD", means_CD),
            ("axes_DK", axes_DK),
            ("spreads_K", spreads_K),
            ("rest", rest),
            ("reach", reach),
        ):
            self.register_buffer(name, value.float())

    def forward(self, embeddings_ND: Tensor) -> Tensor:
        return (self.reach / self.distances(embeddings_ND)).clamp(max=1) ** POWER

    def distances(self, embeddings_ND: Tensor) -> Tensor:
        """(N,) Mahalanobis distances from the nearer class."""
        beside_NCD = embeddings_ND.float()[:, None] - self.means_CD
        along_NCK = beside_NCD @ self.axes_DK
        beyond_NC = (beside_NCD.square().sum(-1) - along_NCK.square().sum(-1)).clamp(min=0)
        squares_NC = (along_NCK / self.spreads_K).square().sum(-1) + beyond_NC / self.rest.square()
        return squares_NC.amin(1).sqrt().clamp(min=1e-6)


def fit_familiarity(embeddings_ND: Tensor, labels_N: Tensor, held_out_ND: Tensor, beyond: float) -> Familiarity:
    """The familiarity of crops that were trained on. held_out_ND: of crops that were not; the share `beyond` of them
    lies out of reach. Where there are none, every second crop of the training stands in for them.

    ValueError with fewer than two crops.
    """
    if not len(held_out_ND):
        embeddings_ND, labels_N, held_out_ND = embeddings_ND[::2], labels_N[::2], embeddings_ND[1::2]
    if not len(embeddings_ND) or not len(held_out_ND):
        raise ValueError(f"{len(embeddings_ND)} and {len(held_out_ND)} crops")
    embeddings_ND = embeddings_ND.double()
    classes, of_class = labels_N.unique(return_inverse=True)
    means_CD = torch.stack([embeddings_ND[of_class == number].mean(0) for number in range(len(classes))])
    beside_ND = embeddings_ND - means_CD[of_class]
    variances, axes = torch.linalg.eigh(beside_ND.T @ beside_ND / len(beside_ND))  # ascending
    count = max(1, min(DIRECTIONS, len(beside_ND) // PER_DIRECTION, len(variances) - 1))
    least = 1e-6 * variances.clamp(min=0).mean() + 1e-12
    spreads_K = variances[-count:].clamp(min=least).sqrt()
    rest = variances[:-count].clamp(min=0).mean().clamp(min=least).sqrt()
    fitted = Familiarity(means_CD, axes[:, -count:], spreads_K, rest, torch.ones(()))
    fitted.reach = fitted.distances(held_out_ND).quantile(1 - beyond)
    return fitted


def familiarity_of(state: dict[str, Tensor]) -> Familiarity:
    """What a Familiarity's state_dict described. KeyError or TypeError where it describes none."""
    return Familiarity(**state)
