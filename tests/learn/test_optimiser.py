"""timm's optimisers with our weight decay and learning rates of layers; schedules by hand and against torch's own."""

import io
import itertools
import math

import pytest
import timm.optim
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, PolynomialLR

from deepfake.errors import UserError
from deepfake.learn.optimiser import build_optimizer, build_schedule

SCHEDULES = ["cosine", "one_cycle", "poly", "constant"]


def build(model, name="adamw", *, lr=0.1, weight_decay=0.5, **settings):
    return build_optimizer(model, name=name, lr=lr, weight_decay=weight_decay, **settings)


def by_name(model, optimizer, key):
    """`key` of the group of each weight that the optimiser has; each weight once, no group without any."""
    names = {id(weight): name for name, weight in model.named_parameters()}
    pairs = [(names[id(weight)], group[key]) for group in optimizer.param_groups for weight in group["params"]]
    assert len(dict(pairs)) == len(pairs)
    assert all(group["params"] for group in optimizer.param_groups)
    return dict(pairs)


# --- what is decayed


def test_vectors_are_not_decayed_and_every_weight_is_learnt_once():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 1))
    decay = by_name(model, build(model), "weight_decay")
    assert decay == {"0.weight": 0.5, "0.bias": 0, "1.weight": 0, "1.bias": 0, "3.weight": 0.5, "3.bias": 0}


def test_what_a_model_excepts_is_not_decayed():
    model = timm.create_model("test_vit", num_classes=1)
    for layer_decay in (1.0, 0.5):
        decay = by_name(model, build(model, layer_decay=layer_decay), "weight_decay")
        for name, weight in model.named_parameters():
            assert decay[name] == (0 if weight.ndim == 1 or name in ("cls_token", "pos_embed") else 0.5)


def test_decay_alone_moves_matrices_and_leaves_vectors():
    model = nn.Linear(2, 1)
    weight, bias = model.weight.detach().clone(), model.bias.detach().clone()
    optimizer = build(model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(model.weight.detach(), 0.95 * weight)
    torch.testing.assert_close(model.bias.detach(), bias)


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_frozen_weights_are_left_out(layer_decay, weight_decay):
    model = timm.create_model("test_resnet", num_classes=1)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name == "fc.weight")
    assert by_name(model, build(model, layer_decay=layer_decay, weight_decay=weight_decay), "lr") == {"fc.weight": 0.1}


# --- learning rates of layers

# Prefixes of the weights of each layer, from the stem to the head.
VIT = [("cls_token", "pos_embed", "patch_embed."), *((f"blocks.{block}.",) for block in range(5))]
VIT += [("blocks.5.", "norm."), ("head.",)]
RESNET = [("conv1.", "bn1."), ("layer1.",), ("layer2.",), ("layer3.",), ("layer4.",), ("fc.",)]


@pytest.mark.parametrize(("name", "layers"), [("test_vit", VIT), ("test_resnet", RESNET)])
def test_each_layer_has_half_the_learning_rate_of_the_next(name, layers):
    model = timm.create_model(name, num_classes=1)
    lr = by_name(model, build(model, layer_decay=0.5), "lr")
    expected = {
        weight: 0.1 * 0.5 ** (len(layers) - 1 - number)
        for weight, _ in model.named_parameters()
        for number, prefixes in enumerate(layers)
        if weight.startswith(prefixes)
    }
    assert lr == pytest.approx(expected)
    assert lr["head.weight" if name == "test_vit" else "fc.weight"] == 0.1


def test_a_schedule_keeps_the_ratio_of_layers():
    model = timm.create_model("test_resnet", num_classes=1)
    for name in SCHEDULES:
        optimizer = build(model, layer_decay=0.5)
        schedule = build_schedule(optimizer, name=name, total_steps=10, warmup=0.3)
        for _ in range(10):
            lr = by_name(model, optimizer, "lr")
            assert lr["conv1.0.weight"] == pytest.approx(lr["fc.weight"] / 32)
            assert lr["layer4.0.conv1.weight"] == pytest.approx(lr["fc.weight"] / 2)
            optimizer.step()
            schedule.step()


def test_without_layer_decay_every_weight_has_the_learning_rate():
    model = timm.create_model("test_vit", num_classes=1)
    assert set(by_name(model, build(model), "lr").values()) == {0.1}


# --- optimisers by name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("adamw", torch.optim.AdamW),
        ("AdamW", torch.optim.AdamW),
        ("sgd", torch.optim.SGD),
        ("momentum", torch.optim.SGD),
        ("lion", timm.optim.Lion),
        ("lamb", timm.optim.Lamb),
        ("lookahead_radam", timm.optim.Lookahead),
    ],
)
def test_an_optimiser_has_timms_name(name, expected):
    assert type(build(nn.Linear(2, 1), name)) is expected


def test_momentum_and_arguments_reach_the_optimiser():
    group = build(nn.Linear(2, 1), "sgd", momentum=0.7, kwargs={"dampening": 0, "maximize": True}).param_groups[0]
    assert (group["momentum"], group["nesterov"], group["maximize"]) == (0.7, True, True)
    group = build(nn.Linear(2, 1), "adamw", momentum=0.7, kwargs={"betas": [0.8, 0.95], "eps": 1e-6}).param_groups[0]
    assert (list(group["betas"]), group["eps"]) == ([0.8, 0.95], 1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("adamm", rf"optim\.name=adamm is not an optimiser of timm {timm.__version__}\. Did you mean 'adam"),
        ("xyz", r"optim\.name=xyz is not an optimiser of timm .* it has: adam, adamw"),
        ("ahead_sgd", r"optim\.name=ahead_sgd is not an optimiser"),
        ("bnbadam", r"optim\.name=bnbadam cannot be used on this machine: .*bitsandbytes"),
        ("fusedlamb", r"optim\.name=fusedlamb cannot be used on this machine: .*APEX"),
        ("adahessian", r"optim\.name=adahessian needs gradients of gradients"),
    ],
)
def test_an_optimiser_that_cannot_be_had_is_refused(name, message):
    with pytest.raises(UserError, match=message):
        build(nn.Linear(2, 1), name)


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("adamw", {"beta": 1}, r"optim\.kwargs\.beta is no argument of optim\.name=adamw; it takes betas, eps"),
        ("sgd", {"betas": [0.9, 0.9]}, r"optim\.kwargs\.betas is no argument of optim\.name=sgd"),
        ("sgd", {"fallback_list": ["fc*"]}, r"optim\.kwargs\.fallback_list is no argument"),
        ("adamw", {"lr": 1.0}, r"optim\.kwargs\.lr is no argument of .* beside optim\.lr"),
        ("adamw", {"betas": [0.9, 1.5]}, r"optim\.name=adamw does not take .*'betas': \[0\.9, 1\.5\].*Invalid beta"),
        ("adamw", {"betas": [0.9] * 3}, r"optim\.kwargs\.betas=\[0\.9, 0\.9, 0\.9\]: optim\.name=adamw takes 2, as in"),
        ("adamw", {"betas": "high"}, r"optim\.name=adamw does not take .*'high'"),
        ("adamw", {"eps": -1}, r"optim\.name=adamw does not take .*Invalid epsilon"),
    ],
)
def test_arguments_that_it_does_not_take_are_refused(name, kwargs, message):
    with pytest.raises(UserError, match=message) as caught:
        build(nn.Linear(2, 1), name, kwargs=kwargs)
    assert "\n" not in str(caught.value)


def test_a_mistake_of_ours_is_not_called_the_users(monkeypatch):
    def broken(*_args, **_kwargs):
        raise TypeError("missing argument")

    for name in ("create_optimizer_v2", "get_optimizer_class"):
        with monkeypatch.context() as patch, pytest.raises(TypeError, match="missing argument"):
            patch.setattr(timm.optim, name, broken)
            build(nn.Linear(2, 1))


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(UserError, match=r"optim\.name=sgd does not take optim\.momentum=0, .*Nesterov"):
        build(nn.Linear(2, 1), "sgd", momentum=0)


# --- schedules


def walk(optimizer, schedule, steps):
    """The learning rate of each step."""
    seen = []
    for _ in range(steps):
        seen.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return seen


def sgd(name="momentum", lr=1.0):
    return build(nn.Linear(1, 1), name, lr=lr)


def rates(name, total_steps, warmup, power=0.9):
    """The learning rate of each step, with a peak of 1."""
    optimizer = sgd()
    schedule = build_schedule(optimizer, name=name, total_steps=total_steps, warmup=warmup, power=power)
    return walk(optimizer, schedule, total_steps)


@pytest.mark.parametrize("name", ["cosine", "poly", "constant"])
def test_the_learning_rate_rises_in_a_line_to_its_peak_and_does_not_rise_again(name):
    seen = rates(name, 10, 0.4)
    assert seen[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert seen[4:] == sorted(seen[4:], reverse=True)


def test_cosine_is_half_way_down_half_way_through():
    assert rates("cosine", 10, 0.4)[7] == pytest.approx(0.5)
    assert rates("cosine", 4, 0.0) == pytest.approx([0.5 * (1 + math.cos(math.pi * step / 4)) for step in range(4)])


def test_poly_is_a_power_of_what_is_left():
    assert rates("poly", 4, 0.0, power=1.0) == pytest.approx([1, 0.75, 0.5, 0.25])
    assert rates("poly", 5, 0.2, power=2.0) == pytest.approx([0.5, 1, 0.5625, 0.25, 0.0625])


def test_constant_stays():
    assert rates("constant", 5, 0.4) == pytest.approx([1 / 3, 2 / 3, 1, 1, 1])


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("cosine", CosineAnnealingLR),
        ("poly", lambda optimizer, steps: PolynomialLR(optimizer, steps, power=0.9)),
    ],
)
def test_without_warmup_and_after_it_learning_rates_are_torchs(name, theirs):
    optimizer = sgd()
    expected = walk(optimizer, theirs(optimizer, 15), 15)
    assert rates(name, 15, 0.0) == pytest.approx(expected)
    assert rates(name, 20, 0.25)[5:] == pytest.approx(expected)


@pytest.mark.parametrize(("total_steps", "warmup"), [(20, 0.3), (17, 0.25), (100, 0.1), (7, 0.5)])
def test_one_cycle_is_torchs(total_steps, warmup):
    optimizer = sgd()
    theirs = OneCycleLR(optimizer, max_lr=1.0, total_steps=total_steps, pct_start=warmup)
    assert rates("one_cycle", total_steps, warmup) == walk(optimizer, theirs, total_steps)


def test_one_cycle_rises_to_its_peak_and_falls_to_next_to_nothing():
    seen = rates("one_cycle", 20, 0.25)
    assert seen[0] == pytest.approx(1 / 25)
    assert seen[4] == max(seen) == pytest.approx(1)
    assert seen[19] == pytest.approx(4e-6)


@pytest.mark.parametrize(("name", "key"), [("momentum", "momentum"), ("adamw", "betas"), ("lookahead_adam", "betas")])
def test_momentum_goes_against_the_learning_rate_in_one_cycle(name, key):
    optimizer = sgd(name)
    schedule = build_schedule(optimizer, name="one_cycle", total_steps=10, warmup=0.5)
    seen = []
    for _ in range(10):
        value = optimizer.param_groups[0][key]
        seen.append(value[0] if key == "betas" else value)
        optimizer.step()
        schedule.step()
    assert [seen[0], seen[4], seen[9]] == pytest.approx([0.95, 0.85, 0.95])


@pytest.mark.parametrize(("name", "momentum"), [("momentum", 0.0), ("adagrad", 0.9), ("adafactor", 0.9), ("adan", 0.9)])
def test_momentum_that_is_off_or_another_thing_is_left_alone_in_one_cycle(name, momentum):
    optimizer = build(nn.Linear(1, 1), name, momentum=momentum)
    keys = [key for key in ("momentum", "betas") if key in optimizer.param_groups[0]]
    before = [optimizer.param_groups[0][key] for key in keys]
    schedule = build_schedule(optimizer, name="one_cycle", total_steps=10, warmup=0.5)
    walk(optimizer, schedule, 4)
    assert [optimizer.param_groups[0][key] for key in keys] == before


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_step_has_a_learning_rate_above_nothing_and_up_to_the_peak(name):
    warmups = (0.0, 0.01, 0.1, 0.2, 0.25, 1 / 3, 0.5, 0.9, 0.99, 1.0)
    for total_steps, warmup in itertools.product((*range(1, 13), 49, 100), warmups):
        steps = rates(name, total_steps, warmup)
        assert len(steps) == total_steps, (total_steps, warmup)
        assert min(steps) > 0, (total_steps, warmup)
        assert max(steps) <= 1 + 1e-12, (total_steps, warmup)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_only_step_of_a_training_teaches_something(name):
    assert rates(name, 1, 0.1)[0] > 0.1


# --- to go on from


def train(model, optimizer, schedule, steps):
    """The learning rates of some steps that move the weights."""
    seen = []
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(2, 3)).pow(2).sum().backward()
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return seen


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("optimizer_name", ["adamw", "sgd", "lamb", "lookahead_lion"])
def test_what_goes_on_from_a_file_ends_where_what_never_stopped_does(name, optimizer_name):
    def start():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        optimizer = build(model, optimizer_name, lr=0.01)
        return model, optimizer, build_schedule(optimizer, name=name, total_steps=12, warmup=0.3)

    undisturbed = start()
    expected = train(*undisturbed, 12)
    stopped, file = start(), io.BytesIO()
    train(*stopped, 5)
    torch.save([part.state_dict() for part in stopped], file)
    file.seek(0)
    resumed = start()
    for part, state in zip(resumed, torch.load(file, weights_only=True)):
        part.load_state_dict(state)
    assert train(*resumed, 7) == expected[5:]
    for key, value in undisturbed[0].state_dict().items():
        assert torch.equal(resumed[0].state_dict()[key], value)
