"""What a phase of staged unfreezing trains, in any model of timm."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from deepfake.errors import UserError, raised_within


def train_only(backbone: nn.Module, what: str) -> list[str]:
    """Set requires_grad of every weight; the names of those that are trained, in the model's order.

    what: all; head = the classifier; last_stage = the last stage and all that comes after it (final norms and
    convolutions, classifier); norm = every normalisation layer and the classifier; anything else is a regular
    expression that is searched for in names of weights.
    UserError when that is nothing, or when timm does not say what the model's head or stages are.
    """
    trained = _chosen(backbone, what)
    if not trained:
        raise UserError(f"train.phases: trains={what} matches no weight; {_examples(backbone)}")
    for name, weight in backbone.named_parameters():
        weight.requires_grad_(name in trained)
    return [name for name, _ in backbone.named_parameters() if name in trained]


def training_mode(backbone: nn.Module) -> None:
    """train(), but a batch norm whose weights are all frozen stays in eval mode, so that its statistics stay.

    A batch norm without weights (no model of timm has one) is not frozen.
    """
    backbone.train()
    for module in backbone.modules():
        weights = list(module.parameters(recurse=False))
        if isinstance(module, _BatchNorm) and weights and not any(weight.requires_grad for weight in weights):
            module.eval()


def _chosen(backbone: nn.Module, what: str) -> set[str]:
    match what:
        case "all":
            return {name for name, _ in backbone.named_parameters()}
        case "head":
            return _head(backbone)
        case "last_stage":
            return _last_stage(backbone)
        case "norm":
            return _names_of(backbone, filter(_is_norm, backbone.modules()), recurse=False) | _head(backbone)
    return {name for name, _ in backbone.named_parameters() if re.search(what, name)}


def _head(backbone: nn.Module) -> set[str]:
    """Weights of timm's classifier, which in distilled models is several modules."""
    if not hasattr(backbone, "get_classifier"):
        raise UserError(f"train.phases: timm names no classifier of this model; {_examples(backbone)}")
    head = backbone.get_classifier()
    heads = head if isinstance(head, tuple | list) else (head,)
    return _names_of(backbone, (module for module in heads if isinstance(module, nn.Module)))


def _last_stage(backbone: nn.Module) -> set[str]:
    """Weights of the last of timm's groups that holds nothing of the classifier, and of all groups after it.

    timm counts what stands between stages and classifier to the former (efficientnet's conv_head) or to the latter
    (convnext's head.norm); both are in.
    """
    group_of = _stage_of_weights(backbone)
    of_head = {group_of[name] for name in _head(backbone)}
    stages = set(group_of.values()) - of_head
    if not stages:
        raise UserError(f"train.phases: trains=last_stage: to timm this model is one stage; {_examples(backbone)}")
    return {name for name, group in group_of.items() if group >= max(stages)}


def _stage_of_weights(backbone: nn.Module) -> dict[str, int]:
    """Name of a weight → number of its stage in timm's order, from the stem to the classifier."""
    from timm.models import group_parameters

    refusal = f"train.phases: trains=last_stage: timm names no stages of this model; {_examples(backbone)}"
    if not hasattr(backbone, "group_matcher"):  # as in metaformers
        raise UserError(refusal)
    try:
        matcher = backbone.group_matcher(coarse=True)
    except Exception as error:  # rdnet's knows no stages, and asserts it
        if not raised_within(error, "timm"):
            raise
        raise UserError(refusal) from error
    return group_parameters(backbone, matcher, reverse=True)


def _is_norm(module: nn.Module) -> bool:
    """Torch's normalisation layers, what derives from them, and timm's own, such as RmsNorm and EvoNorm2dS0."""
    kind = type(module)
    of_timm = kind.__module__.startswith("timm.layers.") and "Norm" in kind.__name__
    return of_timm or isinstance(module, (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm))


def _names_of(backbone: nn.Module, modules: Iterable[nn.Module], *, recurse: bool = True) -> set[str]:
    """Names, in the backbone, of the modules' weights; recurse: with those of their parts."""
    weights = {id(weight) for module in modules for weight in module.parameters(recurse)}
    return {name for name, weight in backbone.named_parameters() if id(weight) in weights}


def _examples(backbone: nn.Module) -> str:
    """What a pattern can match: some names of weights from the model's beginning, middle and end."""
    names = [name for name, _ in backbone.named_parameters()]
    some = dict.fromkeys((names[0], names[len(names) // 2], names[-1]))
    return f"give trains a regular expression for names of weights such as {', '.join(some)}"
