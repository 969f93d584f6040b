"""Several processes that train together, one a GPU, on one machine or more: torchrun, without its noise."""

from __future__ import annotations

import os
from pathlib import Path

import deepfake
from deepfake.arguments import as_arguments
from deepfake.config import Config
from deepfake.errors import UserError
from deepfake.machine import worker_count


def train_together(cfg: Config) -> None:
    """`python -m deepfake train` with this configuration, in cfg.gpus processes of this machine.

    They find those of the other machines (cfg.nnodes). Without any GPU they share the CPU. UserError where there are
    fewer GPUs, or a process failed, which has said why.
    """
    import torch
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError

    there = torch.cuda.device_count()
    if 0 < there < cfg.gpus:
        raise UserError(f"gpus={cfg.gpus}, but this machine has {there}")
    here = str(Path(deepfake.__file__).parents[1])  # importable here, and so it has to be there
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, worker_count(-1) // cfg.gpus)))
    if cfg.nnodes > 1:
        meeting = [f"--nnodes={cfg.nnodes}", "--rdzv-backend=c10d", f"--rdzv-endpoint={cfg.rdzv_endpoint}"]
        meeting.append(f"--rdzv-id={cfg.run}")
    else:
        meeting = ["--standalone"]
    command = [*meeting, f"--nproc-per-node={cfg.gpus}", "-m", "deepfake", "train", *as_arguments(cfg)]
    try:
        torchrun.run(torchrun.parse_args(command))
    except ChildFailedError as error:
        raise UserError("training stopped: one of its processes failed, see above") from error
    except RendezvousError as error:
        raise UserError(f"rdzv_endpoint={cfg.rdzv_endpoint}: no other machine answers ({error})") from error
    except SignalException as error:
        raise KeyboardInterrupt from error
