"""Two processes on one machine train as one does."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from deepfake.learn.distributed import ALONE, joined_world
from deepfake.learn.engine import Precision
from deepfake.learn.models import build_detector, resolve_spec
from deepfake.learn.recipe import Phase, Recipe
from deepfake.learn.trainer import Trainer

STEPS, SIZE = 10, 8
SETTINGS = (
    {"optimizer": "sgd", "lr": 0.05, "loss": "class_mean", "accumulate": 2},
    {"optimizer": "adamw", "lr": 1e-3, "loss": "bce", "ema": 0.9, "clip_norm": 1.0},
)


def train(world, settings):
    """Ten steps of this process's share of batches whose classes are uneven; weights, and the mean loss."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    detector = build_detector(resolve_spec("test_vit", image_size=32))
    rng = np.random.default_rng(0)
    made = []
    for _ in range(STEPS):
        labels = np.array([1, 0, 0, 1, 0, 0, 0, 0])
        images = rng.integers(0, 128, (SIZE, 3, 32, 32)) + 127 * labels[:, None, None, None]
        share = slice(world.rank, None, world.size)
        batch = torch.tensor(images, dtype=torch.uint8)[share], torch.tensor(labels, dtype=torch.float32)[share]
        made.append((*batch, torch.arange(SIZE)[share]))
    settings = dict(settings)
    recipe = Recipe(phases=[Phase("all", 1, settings.pop("optimizer"), settings.pop("lr"))], **settings)
    precision = Precision(torch.device("cpu"))
    trainer = Trainer(detector, recipe, steps_of_epochs=[STEPS], precision=precision, world=world)
    figures = trainer.train_epoch(made)
    return trainer.result.state_dict(), figures.loss


def one_of_two(rank, port, folder):
    import os

    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    with joined_world() as world:
        for number, settings in enumerate(SETTINGS):
            torch.save(train(world, settings), folder / f"{number}-{rank}.pt")
        assert world.gather(rank) == [0, 1]


def test_two_processes_end_within_1e_5_of_one_with_the_same_global_batch(tmp_path):
    # As torchrun's agent does, this process hosts the store: neither of the two has it to take down as it ends.
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    mp.spawn(one_of_two, (store.port, tmp_path), nprocs=2)
    torch.manual_seed(0)
    start = build_detector(resolve_spec("test_vit", image_size=32)).state_dict()
    for number, settings in enumerate(SETTINGS):
        alone, loss = train(ALONE, settings)
        together = [torch.load(tmp_path / f"{number}-{rank}.pt", weights_only=True) for rank in (0, 1)]
        assert max(float((alone[name] - start[name]).abs().max()) for name in alone) > 1e-3, settings  # it moved
        for state, its_loss in together:
            assert its_loss == pytest.approx(loss, abs=1e-5), settings
            assert max(float((state[name] - value).abs().max()) for name, value in alone.items()) < 1e-5, settings
