"""Processes that train together: who this one is, and what they add up and gather."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn


@dataclass(frozen=True)
class World:
    """The processes that train together, seen from one of them. Alone, every method is the identity."""

    rank: int = 0
    """This process's number among all."""
    size: int = 1
    local_rank: int = 0
    """Its number on its own machine."""

    @property
    def leads(self) -> bool:
        """Whether this is the one process that writes and speaks."""
        return self.rank == 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of every process's tensor (on the training device), in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def gather(self, value: Any) -> list[Any]:
        """Every process's value (anything that pickles), by rank, in every process."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def share_buffers(self, module: nn.Module) -> None:
        """Give every process the first one's buffers: batch norm's statistics differ where each saw its own crops."""
        if self.size > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, 0)


ALONE = World()


@contextmanager
def joined_world() -> Iterator[World]:
    """The processes that torchrun started, as its environment variables say, or this one alone."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:  # clusters set WORLD_SIZE and RANK for other ends, too
        yield ALONE
        return
    world = World(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
    cards = torch.cuda.device_count()
    if cards:
        torch.cuda.set_device(world.local_rank % cards)
    # NCCL refuses two processes on one card; gloo copies by way of the main memory, and takes them.
    dist.init_process_group("nccl" if cards >= int(os.environ["LOCAL_WORLD_SIZE"]) else "gloo")
    try:
        yield world
    finally:
        dist.destroy_process_group()
