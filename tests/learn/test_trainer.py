"""The training step and what surrounds it: equalities that must hold exactly, and what stops it."""

import copy
import functools
import io

import numpy as np
import pytest
import torch

from deepfake.errors import UserError
from deepfake.learn.engine import NonFiniteError, Precision, predict
from deepfake.learn.models import build_detector, resolve_spec
from deepfake.learn.recipe import Phase, Recipe
from deepfake.learn.trainer import Trainer

CPU = Precision(torch.device("cpu"))


def batches(count=4, size=8, side=8):
    """Fakes are bright, reals dark."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        labels = np.arange(size) % 2
        images = rng.integers(0, 128, (size, 3, side, side)) + 127 * labels[:, None, None, None]
        rows = torch.arange(number * size, (number + 1) * size)
        made.append((torch.tensor(images, dtype=torch.uint8), torch.tensor(labels, dtype=torch.float32), rows))
    return made


def model(name, side=32, **kwargs):
    torch.manual_seed(0)
    return build_detector(resolve_spec(name, image_size=side, **kwargs))


def recipe(*, epochs=1, optimizer="adamw", lr=0.01, **settings):
    phases = settings.pop("phases", [Phase("all", epochs, optimizer, lr)])
    return Recipe(phases=phases, **({"warmup": 0.0, "weight_decay": 0.0} | settings))


def trainer_of(detector, made, *, precision=CPU, say=lambda message: None, **settings):
    plan = recipe(**settings)
    return Trainer(detector, plan, steps_of_epochs=[len(made)] * plan.epochs, precision=precision, say=say)


def train(detector, made, **settings):
    trainer = trainer_of(detector, made, **settings)
    return trainer, [trainer.train_epoch(made) for _ in range(trainer.recipe.epochs)]


def weights(module):
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def assert_same(first, second, case=""):
    assert first.keys() == second.keys(), case
    assert all(torch.equal(first[name], second[name]) for name in first), case


def test_a_task_that_can_be_learnt_is_learnt(toy):
    _, figures = train(toy, batches(), epochs=6)
    assert figures[0].loss > 0.3
    assert figures[-1].loss < 0.1
    logits = predict(toy, batches(), views=["identity"], precision=CPU)[:, 0]
    assert ((logits > 0) == (np.arange(32) % 2 == 1)).all()


@pytest.mark.parametrize("loss", ["bce", "focal", "class_mean"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lamb"])
def test_every_loss_and_optimiser_learns(loss, optimizer):
    _, figures = train(model("test_resnet"), batches(side=32), epochs=4, lr=0.003, loss=loss, optimizer=optimizer)
    assert figures[-1].loss < 0.9 * figures[0].loss


def test_the_loss_of_an_epoch_is_the_mean_of_its_steps(toy):
    torch.nn.init.zeros_(toy.backbone[1].weight)
    torch.nn.init.zeros_(toy.backbone[1].bias)
    _, (figures,) = train(toy, batches(), lr=0.0)
    assert figures.loss == pytest.approx(np.log(2), abs=1e-6)
    assert figures.crops_per_s > 0 and 0 <= figures.waited <= 1


def test_each_step_is_told_and_moves_the_learning_rate(toy):
    made, counts = batches(4), []
    trainer = trainer_of(toy, made, lr=1.0)
    trainer.train_epoch(made[:2], on_step=lambda count: counts.append((count, trainer.step)))
    assert counts == [(8, 1), (8, 2)]
    assert trainer.schedule.get_last_lr()[0] == pytest.approx(0.5)


# --- equalities


@pytest.mark.parametrize("loss", ["bce", "focal", "class_mean"])
def test_a_batch_of_8_is_4_times_2_accumulated(loss):
    made = [(images, torch.tensor([1.0, 1, 1, 0, 0, 0, 0, 0]), rows) for images, _, rows in batches(3, side=32)]
    settings = {"optimizer": "sgd", "lr": 0.05, "loss": loss, "clip_norm": 1.0, "label_smoothing": 0.1}
    whole, pieces = model("test_vit"), model("test_vit")
    _, (one,) = train(whole, made, **settings)
    _, (four,) = train(pieces, made, accumulate=4, **settings)
    assert one.loss == pytest.approx(four.loss, abs=1e-6)
    for name, value in weights(whole).items():
        torch.testing.assert_close(value, weights(pieces)[name], atol=1e-6, rtol=1e-5)


RICH = {
    "phases": [Phase("head", 1, "sgd", 0.01), Phase("all", 2, "adamw", 0.003)],
    "ema": 0.9,
    "mixup": 0.4,
    "clip_norm": 1.0,
    "warmup": 0.3,
}


def test_gradients_of_weights_that_a_phase_freezes_do_not_count_in_it():
    made, detector = batches(1, side=32), model("test_resnet")
    trainer = trainer_of(detector, made, phases=[Phase("all", 1, "sgd", 0.1), Phase("head", 1, "sgd", 0.1)])
    trainer.train_epoch(made)
    trainer.train_epoch(made)
    with_gradient = {name for name, weight in detector.backbone.named_parameters() if weight.grad is not None}
    assert with_gradient == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", "poly"])
def test_a_training_that_is_stopped_at_any_step_goes_on_to_bitwise_the_same_weights(schedule):
    made, saved = batches(4, size=4, side=32), {}

    def start():
        return trainer_of(model("test_resnet", drop_rate=0.3), made, schedule=schedule, **RICH)

    def on_step(_):
        step = sum(undisturbed.steps_of_epochs[: undisturbed.epoch]) + undisturbed.step
        saved[step] = io.BytesIO()
        torch.save(undisturbed.state(), saved[step])

    undisturbed = start()
    for _ in range(3):
        undisturbed.train_epoch(made, on_step=on_step)
    unwatched, _ = train(model("test_resnet", drop_rate=0.3), made, schedule=schedule, **RICH)
    assert_same(weights(undisturbed.result), weights(unwatched.result))  # to be saved does not disturb
    assert list(saved) == list(range(1, 13))
    for stop in (1, 4, 7, 11):
        torch.manual_seed(99)  # what the process that died had drawn does not matter
        again = start()
        again.load_state(torch.load(io.BytesIO(saved[stop].getvalue()), weights_only=True))
        while again.epoch < 3:
            again.train_epoch(made[again.step :])
        assert_same(weights(undisturbed.detector), weights(again.detector), stop)
        assert_same(weights(undisturbed.result), weights(again.result), stop)


def two_view_batches(count):
    """Crops of six channels: as they are, and a little darker."""
    return [
        (torch.cat([images, images - images // 8], 1), targets, rows) for images, targets, rows in batches(count, 4, 32)
    ]


SWITCHES = {
    "mix_fake": {"mix_fake": 0.5, "mixup": 0.0},
    "consistency": {"consistency": 1.0},
    "both": {"mix_fake": 0.5, "consistency": 1.0, "mixup": 0.0},
    "average": {"average": 2},
    "average without": {"average": 2, "ema": 0.0},
}


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("kind", ["test_resnet", "test_vit"])
def test_with_a_switch_a_stopped_training_goes_on_to_bitwise_the_same_weights(name, kind):
    settings, saved = RICH | SWITCHES[name], {}
    made = two_view_batches(3) if "consistency" in settings else batches(3, 4, 32)

    def start():
        return trainer_of(model(kind, drop_rate=0.3), made, **settings)

    def on_step(_):
        saved[undisturbed.epoch * 3 + undisturbed.step] = io.BytesIO()
        torch.save(undisturbed.state(), saved[undisturbed.epoch * 3 + undisturbed.step])

    undisturbed = start()
    for _ in range(3):
        undisturbed.train_epoch(made, on_step=on_step)
    plain, _ = (
        train(model(kind, drop_rate=0.3), made, **(RICH | {"mixup": settings["mixup"]}))
        if "consistency" not in settings
        else (None, None)
    )
    if plain:
        same = torch.equal(weights(plain.result)[HEAD[kind]], weights(undisturbed.result)[HEAD[kind]])
        assert not same  # the switch does something
    for stop in (2, 5, 8):
        torch.manual_seed(99)
        again = start()
        again.load_state(torch.load(io.BytesIO(saved[stop].getvalue()), weights_only=True))
        while again.epoch < 3:
            again.train_epoch(made[again.step :])
        assert_same(weights(undisturbed.detector), weights(again.detector), stop)
        assert_same(weights(undisturbed.result), weights(again.result), stop)


HEAD = {"test_resnet": "backbone.fc.weight", "test_vit": "backbone.head.weight"}


def test_views_that_are_the_same_train_as_one_whatever_their_weight():
    """Without batch norm: twice the same view is a loss of its own, and nothing to disagree about."""
    made = batches(2, side=32)
    twice = [(torch.cat([images, images], 1), targets, rows) for images, targets, rows in made]
    plain, double = model("test_vit"), model("test_vit")
    _, (one,) = train(plain, made, optimizer="sgd", lr=0.05)
    _, (two,) = train(double, twice, optimizer="sgd", lr=0.05, consistency=5.0)
    assert one.loss == pytest.approx(two.loss, abs=1e-5)
    for name, value in weights(plain).items():
        torch.testing.assert_close(value, weights(double)[name], atol=1e-5, rtol=1e-4)


def test_consistency_is_the_same_computed_in_pieces():
    made = two_view_batches(2)
    whole, pieces = model("test_vit"), model("test_vit")
    train(whole, made, optimizer="sgd", lr=0.05, consistency=1.0, loss="class_mean")
    train(pieces, made, optimizer="sgd", lr=0.05, consistency=1.0, loss="class_mean", accumulate=2)
    for name, value in weights(whole).items():
        torch.testing.assert_close(value, weights(pieces)[name], atol=1e-5, rtol=1e-4)


def test_the_result_is_the_mean_of_the_last_epochs_once_they_have_begun(toy):
    made, ends = batches(2), []
    trainer = trainer_of(toy, made, epochs=4, lr=0.05, average=2)
    for epoch in range(4):
        trainer.train_epoch(made)
        ends.append(toy.backbone[1].weight.detach().clone())
        assert (trainer.result is toy) == (epoch < 2)
    torch.testing.assert_close(trainer.result.backbone[1].weight, (ends[2] + ends[3]) / 2)


def test_the_moving_average_is_that_of_every_steps_weights(toy):
    made, seen = batches(5), []
    trainer = trainer_of(toy, made, lr=0.05, ema=0.6)
    trainer.train_epoch(made, on_step=lambda _: seen.append(toy.backbone[1].weight.detach().clone()))
    average = seen[0]
    for step, value in enumerate(seen[1:], start=2):
        decay = min(0.6, 1 - step ** (-2 / 3))  # it rises to its value, so that the first weights are forgotten
        average = decay * average + (1 - decay) * value
    torch.testing.assert_close(trainer.result.backbone[1].weight, average)
    assert not torch.equal(trainer.result.backbone[1].weight, toy.backbone[1].weight)


def test_without_a_moving_average_the_result_is_the_model(toy):
    trainer, _ = train(toy, batches())
    assert trainer.result is toy


def test_a_clipped_step_of_plain_descent_is_as_long_as_the_bound(toy):
    before = weights(toy)
    train(toy, batches(1), optimizer="momentum", momentum=0.0, lr=0.5, clip_norm=1e-3, schedule="constant")
    moved = [(value - before[name]).flatten() for name, value in weights(toy).items()]
    assert float(torch.cat(moved).norm()) == pytest.approx(0.5e-3, rel=1e-3)


def test_the_memory_format_changes_nothing_but_rounding():
    rows = []
    for channels_last in (True, False):
        detector = model("test_resnet")
        precision = Precision(torch.device("cpu"), channels_last=channels_last)
        train(detector, batches(2, side=32), precision=precision, optimizer="sgd", lr=0.01)
        rows.append(weights(detector)["backbone.conv1.0.weight"])
        assert detector.backbone.conv1[0].weight.is_contiguous(memory_format=precision.memory_format)
    torch.testing.assert_close(*rows, atol=1e-5, rtol=1e-4)


def test_a_compiled_model_trains_to_the_same_weights(monkeypatch):
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    plain, compiled = model("test_vit"), model("test_vit")
    train(plain, batches(2, side=32), optimizer="sgd")
    trainer, _ = train(compiled, batches(2, side=32), optimizer="sgd", compile=True)
    assert trainer.gradients.run_model is not trainer.gradients.model
    for name, value in weights(plain).items():
        torch.testing.assert_close(value, weights(compiled)[name])


# --- phases


def test_each_phase_trains_what_it_says_with_its_own_learning_rate():
    made, detector = batches(2, side=32), model("test_resnet")
    phases = [Phase("head", 1, "sgd", 0.1), Phase("last_stage", 1, "adamw", 0.01), Phase("all", 1, "sgd", 0.001)]
    trainer = trainer_of(detector, made, phases=phases, schedule="constant")
    changed, rates = [], []
    for _ in phases:
        before = weights(detector)
        rates.append(trainer.train_epoch(made).lr)
        now = weights(detector)
        changed.append({name.split(".")[1] for name in now if not torch.equal(now[name], before[name])})
    assert rates == pytest.approx([0.1, 0.01, 0.001])
    assert changed[0] == {"fc"}
    assert changed[1] == {"layer4", "fc"}
    assert {"conv1", "bn1", "layer1", "layer2", "layer3"} < changed[2]


def test_a_later_phase_that_trains_nothing_is_refused_before_the_first_begins(toy):
    detector = model("test_resnet")
    with pytest.raises(UserError, match="layer9"):
        trainer_of(detector, batches(1), phases=[Phase("head", 1, "sgd", 0.1), Phase("layer9", 1, "sgd", 0.1)])


# --- what stops it


def test_a_loss_that_is_not_finite_stops_and_names_step_and_rows(toy):
    made = batches(3)
    trainer = trainer_of(toy, made)

    def poison(_):
        if trainer.step == 1:
            toy.backbone[1].bias.data.fill_(float("nan"))

    with pytest.raises(NonFiniteError, match="the loss of step 1 is not finite in a batch of 8 crops") as caught:
        trainer.train_epoch(made, on_step=poison)
    assert caught.value.rows == list(range(8, 16))


def test_a_state_that_is_spoilt_is_not_given(toy):
    made = batches(1)
    trainer = trainer_of(toy, made)
    toy.backbone[1].bias.data.fill_(float("nan"))
    with pytest.raises(NonFiniteError):
        trainer.train_epoch(made, on_step=lambda _: trainer.state())


def test_a_gradient_that_is_not_finite_in_the_last_step_is_seen_before_anything_is_kept(toy):
    made = batches(2)
    trainer = trainer_of(toy, made)
    toy.backbone[1].weight.register_hook(lambda grad: grad * float("nan") if trainer.step == 1 else grad)
    with pytest.raises(NonFiniteError, match="a weight after step 1 is not finite in a batch of 8 crops") as caught:
        trainer.train_epoch(made)
    assert caught.value.rows == list(range(8, 16))
    with pytest.raises(NonFiniteError):
        trainer.state()


class SmallMemory(torch.nn.Module):
    """A layer that has room for `most` crops at once."""

    def __init__(self, most):
        super().__init__()
        self.most, self.seen = most, []

    def forward(self, values):
        if len(values) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        self.seen.append(len(values))
        return values


def test_a_batch_that_memory_does_not_hold_is_halved_until_it_fits_with_the_same_result(toy):
    roomy, said = copy.deepcopy(toy), []
    train(roomy, batches(), optimizer="sgd")
    memory = SmallMemory(3)
    toy.backbone.append(memory)
    train(toy, batches(), optimizer="sgd", say=said.append)
    torch.testing.assert_close(toy.backbone[1].weight, roomy.backbone[1].weight)
    assert memory.seen == [2] * 16
    assert len(said) == 2 and "computed in 4 pieces from here on" in said[-1]


def test_a_crop_that_memory_does_not_hold_alone_ends_in_one_line(toy):
    toy.backbone.append(SmallMemory(0))
    with pytest.raises(UserError, match="out of GPU memory with a step in 8 pieces of one crop: take a smaller"):
        train(toy, batches())
