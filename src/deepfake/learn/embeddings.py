"""What training does with a batch's embeddings: those of fakes mixed with those of reals, and two views compared."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from deepfake.errors import UserError
from deepfake.learn.models import Detector

LEAST_FAKE = 0.25  # share of the fake in a mixture; with less the mixture is as good as real


class EmbeddingModel(nn.Module):
    """(images_NCHW, targets) → logits (N,) and embeddings (N, D) of a detector in training.

    mix_fake: as in mix_fakes. views: how many views of the same crops, one after the other, make up the N images.
    UserError for a model without the one classifier that embeddings need.
    """

    def __init__(self, detector: Detector, *, mix_fake: float, views: int) -> None:
        super().__init__()
        check_embeds(detector)
        self.detector = detector
        self.mix_fake = mix_fake
        self.views = views

    def forward(self, images_NCHW: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        embeddings_ND = self.detector.embed(images_NCHW)
        if self.mix_fake:
            embeddings_ND = mix_fakes(embeddings_ND, targets, self.mix_fake, views=self.views)
        return self.detector.classify(embeddings_ND), embeddings_ND


def check_embeds(detector: Detector) -> None:
    """UserError where timm's model is not features, then one embedding, then one classifier."""
    backbone = detector.backbone
    parts = all(hasattr(backbone, name) for name in ("forward_features", "forward_head", "get_classifier"))
    if not parts or not isinstance(backbone.get_classifier(), nn.Module):
        raise UserError(
            f"model.name={detector.spec.name} has no single classifier, which train.mix_fake, train.consistency "
            f"and train.doubt need: leave them out, or take another model"
        )


def check_doubts(detector: Detector) -> None:
    """UserError where timm's model does not also tell of its maps."""
    check_embeds(detector)
    if not hasattr(detector.backbone, "forward_intermediates"):
        raise UserError(
            f"model.name={detector.spec.name} does not tell of its intermediate maps, which train.doubt needs: leave "
            f"it out, or take another model"
        )


def mix_fakes(embeddings_ND: Tensor, targets: Tensor, probability: float, *, views: int = 1) -> Tensor:
    """Embeddings in which a fake's is, with that probability, share * its own + (1 - share) * that of a real of the
    batch, drawn anew; share is uniform in [LEAST_FAKE, 1]. It counts as fake all the same.

    That makes the classifier draw its line close around the reals (SimLBR: Dhakal et al., "Learning to detect fake
    images by learning to detect real images", 2026), and leaves as many fakes as there were. targets: (N,); 1 is a
    fake, 0 a real, and what lies between is left alone, as is a batch without reals. Each of several views of the same
    crops, one after the other, is mixed alike. Draws from torch's global random stream.
    """
    count = len(targets) // views
    reals, fakes = targets[:count] == 0, targets[:count] == 1
    draws = torch.rand(count, count + 2, device=targets.device)
    partner = draws[:, 2:].masked_fill(~reals, -1).argmax(1)
    mixed = fakes & reals.any() & (draws[:, 0] < probability)
    share = torch.where(mixed, LEAST_FAKE + (1 - LEAST_FAKE) * draws[:, 1], 1.0).to(embeddings_ND.dtype)
    partners = torch.cat([partner + view * count for view in range(views)])
    shares = share.repeat(views)[:, None]
    return shares * embeddings_ND + (1 - shares) * embeddings_ND[partners]


def two_views(images_NCHW: Tensor, memory_format: torch.memory_format) -> Tensor:
    """Crops (N, 6, H, W), a clean and a damaged view each, as images (2N, 3, H, W): all clean ones, then all others."""
    clean, damaged = images_NCHW.split(3, 1)
    return torch.cat([clean, damaged]).contiguous(memory_format=memory_format)


def disagreement(logits: Tensor, embeddings_ND: Tensor) -> Tensor:
    """(N,) how far two views (2N logits and embeddings, all of the one and then all of the other) lie apart: one minus
    the cosine of the embeddings, plus the symmetric KL divergence of P(fake), (KL(p, q) + KL(q, p)) / 2.

    For two coins the sum of both divergences is (p - q) (logit p - logit q).
    """
    (one, other), (first, second) = embeddings_ND.float().chunk(2), logits.chunk(2)
    divergence = (torch.sigmoid(first) - torch.sigmoid(second)) * (first - second) / 2
    return 1 - cosine_similarity(one, other) + divergence
