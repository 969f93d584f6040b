"""On a card all is as on the CPU, but for rounding: logits, steps, what is saved. See conftest.py for `card`."""

from __future__ import annotations

import copy
import os
import time

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from test_trainer import batches, model, recipe, train, trainer_of, weights

from deepfake.learn import predictor as predictor_module
from deepfake.learn.checkpoint import load_detector, save_detector
from deepfake.learn.data import CropDataset, train_loader
from deepfake.learn.distributed import ALONE, joined_world
from deepfake.learn.engine import Precision, predict
from deepfake.learn.golden import GOLDEN_TOLERANCE, golden_images
from deepfake.learn.predictor import Predictor
from deepfake.learn.sampling import EpochBatches, Rows
from deepfake.learn.trainer import Trainer

pytestmark = pytest.mark.cuda

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it once; deterministic algorithms want it

NETS = ("tf_efficientnet_b0", "convnext_atto", "vit_tiny_patch16_224")
# Of 1 + |logit|, where logits are several units large. TF32 and bf16 have mantissas of 10 and 7 bits, fp16 of 10.
TOLERANCE = {None: 1e-3, "tf32": 2e-2, torch.float16: 3e-2, torch.bfloat16: 2e-1}


@pytest.fixture
def exact():
    """float32 is float32, and the same shapes take the same way."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = False
    torch.set_float32_matmul_precision("highest")
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = before[:2]
    torch.set_float32_matmul_precision(before[2])


def certain(name, side):
    """A detector whose logits are several units large, as after training."""
    detector = model(name, side).eval()
    with torch.no_grad():
        detector.backbone.get_classifier().weight *= 5 / detector(golden_images(side)).std()
    return detector


def far(logits, reference):
    """The largest difference, in units of 1 + |logit|."""
    return float(((logits.cpu() - reference).abs() / (1 + reference.abs())).max())


def logits_on(precision, detector, images):
    detector = precision.place(copy.deepcopy(detector))
    with torch.inference_mode(), precision.autocast():
        return detector(precision.send(images))


@pytest.mark.parametrize("name", NETS)
def test_logits_are_those_of_the_cpu(name, card, exact):
    detector, images = certain(name, 224), golden_images(224)
    with torch.inference_mode():
        reference = detector(images)
    found = {}
    for dtype in (None, torch.float16, torch.bfloat16):
        found[dtype] = far(logits_on(Precision(card, dtype), detector, images), reference)
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("high")
    found["tf32"] = far(logits_on(Precision(card), detector, images), reference)
    assert all(found[kind] <= limit for kind, limit in TOLERANCE.items()), found


def test_the_golden_logits_of_weights_hold_on_every_device(card, exact, tmp_path):
    """Trained on the card, kept, read on the CPU, and asked on the card again."""
    trainer, _ = train(model("test_resnet"), batches(side=32), precision=Precision(card), lr=0.003, epochs=2)
    save_detector(tmp_path / "best.safetensors", trainer.result, {})
    detector = load_detector(tmp_path / "best.safetensors")  # refuses other logits than when it was saved
    with torch.inference_mode():
        reference = detector(golden_images(32))
    assert far(logits_on(Precision(card), detector, golden_images(32)), reference) < GOLDEN_TOLERANCE / 4


@pytest.mark.parametrize("dtype", [None, torch.float16, torch.bfloat16])
def test_every_precision_learns(dtype, card):
    precision = Precision(card, dtype)
    _, figures = train(model("test_resnet"), batches(side=32), precision=precision, epochs=4, lr=0.003, clip_norm=1.0)
    assert figures[-1].loss < 0.9 * figures[0].loss


def test_steps_in_full_precision_are_those_of_the_cpu(card, exact):
    here, there = model("test_vit"), model("test_vit")
    start = weights(here)
    train(here, batches(side=32), optimizer="sgd", lr=0.05, ema=0.9)
    trainer, _ = train(there, batches(side=32), optimizer="sgd", lr=0.05, ema=0.9, precision=Precision(card))
    moved = max(float((value - start[name]).abs().max()) for name, value in weights(here).items())
    apart = max(float((value.cpu() - weights(here)[name]).abs().max()) for name, value in weights(there).items())
    assert apart < 0.01 * moved
    assert {value.device.type for value in trainer.result.state_dict().values()} == {card.type}


def test_a_scale_that_overflows_in_half_precision_costs_steps_alone(needs_card, card):
    detector, made = model("test_resnet"), batches(count=8, side=32)
    trainer = trainer_of(detector, made, precision=Precision(card, torch.float16), epochs=6, lr=0.003)
    trainer.scaler = trainer.gradients.scaler = torch.amp.GradScaler("cuda", init_scale=2.0**40)
    before = weights(detector)
    trainer.gradients.compute(  # the first step: its gradients are not finite
        *(part.to(card) for part in (*made[0][:2], torch.ones(8))), (0,)
    )
    trainer.scaler.step(trainer.optimizer)
    trainer.scaler.update()
    stays = {name for name, _ in detector.named_parameters()}
    assert trainer.scaler.get_scale() == 2.0**39
    assert all(torch.equal(before[name], weights(detector)[name]) for name in stays)
    figures = [trainer.train_epoch(made) for _ in range(6)]
    assert 1 < trainer.scaler.get_scale() < 2.0**39
    assert figures[-1].loss < 0.9 * figures[0].loss
    again = trainer_of(model("test_resnet"), made, precision=Precision(card, torch.float16), epochs=6, lr=0.003)
    again.load_state(trainer.state())
    assert again.scaler.get_scale() == trainer.scaler.get_scale()


def one_of_two(rank, port, folder, device):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = False
    torch.set_float32_matmul_precision("highest")
    with joined_world() as world:
        detector, loss = together(world, torch.device(device))
        torch.save((weights(detector.cpu()), loss), folder / f"{rank}.pt")


def together(world, device):
    """Ten steps of this process's share of the batches, with batch norm over all processes where there is a card."""
    torch.set_num_threads(1)
    share = slice(world.rank, None, world.size)
    made = [tuple(part[share] for part in batch) for batch in batches(count=10, side=32)]
    name = "test_resnet" if device.type == "cuda" else "test_vit"  # gloo cannot synchronise batch norm on a CPU
    plan = recipe(optimizer="sgd", lr=0.01, sync_bn=world.size > 1)
    trainer = Trainer(model(name), plan, steps_of_epochs=[10], precision=Precision(device), world=world)
    return trainer.detector, trainer.train_epoch(made).loss


def test_two_processes_on_one_card_train_as_one_does(card, exact, tmp_path):
    """Batch norm too: its statistics are those of the whole batch."""
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    mp.spawn(one_of_two, (store.port, tmp_path, card.type), nprocs=2)
    detector, loss = together(ALONE, card)
    alone = weights(detector.cpu())
    for rank in (0, 1):
        state, its_loss = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert its_loss == pytest.approx(loss, rel=1e-3)
        floats = [name for name, value in alone.items() if value.is_floating_point()]
        assert max(float((state[name] - alone[name]).abs().max()) for name in floats) < 1e-3


def test_what_memory_does_not_hold_is_halved_with_the_same_result(needs_card, card, exact):
    made, said, wanted = batches(count=2, size=64, side=224), [], {}
    for part in ("roomy", "tight"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        if part == "tight":
            share = 0.7 * wanted["peak"] / torch.cuda.get_device_properties(card).total_memory
            torch.cuda.set_per_process_memory_fraction(share)
        try:
            detector = model("vit_tiny_patch16_224", 224)
            train(detector, made, optimizer="sgd", precision=Precision(card), say=said.append)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        wanted.setdefault("peak", torch.cuda.max_memory_reserved())
        wanted[part] = weights(detector.cpu())
    assert said and all("out of GPU memory: each step is computed in" in line for line in said)
    apart = [float((value - wanted["tight"][name]).abs().max()) for name, value in wanted["roomy"].items()]
    assert max(apart) < 1e-4


def test_copies_are_pinned_and_wait_for_nothing(needs_card, card, save_crops):
    rng = np.random.default_rng(0)
    paths = save_crops(rng.integers(0, 256, (16, 64, 64, 3), dtype=np.uint8))
    labels = np.arange(16) % 2
    rows = Rows.from_names(media=np.arange(16), labels=labels, methods=labels, sources=np.arange(16), frames=0 * labels)
    order = EpochBatches(rows, sampler="all", frames_per_medium=1, batch_size=16, seed=0)
    data = CropDataset(paths, labels, image_size=64, interpolation="bicubic")
    images, targets, _ = next(iter(train_loader(data, order, num_workers=1)))
    assert images.is_pinned() and targets.is_pinned()
    Precision(card).send(images)  # the first launch of its kernels may wait for the card
    busy = torch.randn(8192, 8192, device=card)
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(20):
        busy = busy @ busy / 8192
    done = torch.cuda.Event()
    done.record()
    sent = Precision(card).send(images)
    returned = time.perf_counter() - began
    assert not done.query(), f"send came back after {returned:.3f} s, when the card was done"
    assert torch.equal(sent.cpu(), images)


PLAIN = {"optimizer": "sgd", "lr": 0.01}  # AdamW's first steps make much of a gradient's rounding


def gone_on(card, stop, **settings):
    """Two epochs; with `stop`, from the state that another trainer left after so many steps."""
    made = batches(count=6, side=32)
    trainer = trainer_of(model("test_resnet"), made, precision=Precision(card), epochs=2, **PLAIN, **settings)
    if stop:
        trainer.train_epoch(made[:stop])
        trainer.epoch, trainer.step = 0, stop
        state = trainer.state()
        trainer = trainer_of(model("test_resnet"), made, precision=Precision(card), epochs=2, **PLAIN, **settings)
        trainer.load_state(state)
        trainer.train_epoch(made[stop:])
    while trainer.epoch < 2:
        trainer.train_epoch(made)
    return weights(trainer.result.cpu())


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_training_goes_on_where_it_stopped(deterministic, card, exact):
    torch.use_deterministic_algorithms(deterministic)
    try:
        whole, resumed = gone_on(card, 0, ema=0.9), gone_on(card, 3, ema=0.9)
    finally:
        torch.use_deterministic_algorithms(False)
    apart = max(float((whole[name] - resumed[name]).abs().max()) for name in whole)
    assert apart == 0 if deterministic else apart < 1e-3


def test_models_that_take_turns_in_memory_say_the_same(card, tmp_path, monkeypatch):
    paths = [tmp_path / f"{name}.safetensors" for name in ("test_resnet", "test_vit", "test_efficientnet")]
    for path in paths:
        save_detector(path, certain(path.stem, 32), {})
    images = list(np.random.default_rng(0).integers(0, 256, (10, 40, 40, 3), dtype=np.uint8))
    views, made = ["identity", "hflip"], []
    for room in (float("inf"), 1.0):
        monkeypatch.setattr(predictor_module, "_free_bytes", lambda precision, room=room: room)
        predictor = Predictor(paths, Precision(card), batch_size=4, num_threads=2)
        assert len(predictor.shares) == (1 if room > 1 else 3)
        made.append(predictor.score_arrays(images, views=views, members=3))
    np.testing.assert_allclose(made[0], made[1], rtol=0, atol=1e-4)


def test_prediction_is_that_of_the_cpu(card, exact):
    detector, made = certain("test_resnet", 32), batches(count=3, side=32)
    there = predict(Precision(card).place(copy.deepcopy(detector)), made, views=["hflip"], precision=Precision(card))
    here = predict(detector, made, views=["hflip"], precision=Precision(torch.device("cpu")))
    np.testing.assert_allclose(there, here, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_a_compiled_model_learns_the_same(name, needs_card, card):
    plain, compiled = model(name), model(name)
    _, figures = train(plain, batches(side=32), precision=Precision(card), lr=0.003, epochs=2)
    _, others = train(compiled, batches(side=32), precision=Precision(card), lr=0.003, epochs=2, compile=True)
    assert [one.loss for one in others] == pytest.approx([one.loss for one in figures], rel=0.02)
