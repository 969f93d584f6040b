"""`python -m deepfake STAGE [STAGE …] [key=value …]`: run stages, one after the other, with one configuration."""

from __future__ import annotations

import errno
import importlib
import logging
import os
import sys
import time
from dataclasses import replace

from deepfake import __version__
from deepfake.config import Config, knobs
from deepfake.configure import continue_run, continue_submission, help_text, load_config, presets
from deepfake.errors import UserError, closest

# name: (line of help, sections and keys that it reads)
STAGES = {
    "index": ("a raw folder → media: which files, which labels", ("paths", "data", "num_workers")),
    "folds": ("media → folds: stratified, without leaks", ("paths", "data", "folds")),
    "extract": ("media → faces: decode, find faces, cut crops", ("paths", "data", "crop", "extract", "num_workers")),
    "train": (
        "faces and folds → trained folds and their out-of-fold logits",
        (
            *("paths", "data", "crop", "extract", "model", "augment", "optim", "train", "infer"),
            *("name", "fold", "seed", "num_workers", "gpus", "nnodes", "rdzv_endpoint"),
        ),
    ),
    "blend": (
        "out-of-fold logits of trained runs → how they become one logit a medium",
        ("paths", "blend", "runs", "name"),
    ),
    "infer": (
        "trained folds and test crops → what is handed in, checked",
        (
            *("paths", "data", "crop", "extract", "infer", "submit", "name", "fold", "num_workers"),
            *("input", "json", "pictures"),
        ),
    ),
    "judge": (
        "single files → a table: how probably each is fake; what infer does where files are named",
        (
            *("paths.runs", "extract.max_megapixels", "extract.max_minutes", "extract.timeout_s"),
            *("infer.batch_size", "infer.tta", "infer.compile", "submit.threshold"),
            *("name", "fold", "num_workers", "input", "json", "pictures"),
        ),
    ),
    "check": (
        "a submission file → every fault by name, or that it is right",
        ("paths", "data", "infer.sample_submission", "submit.format", "name", "input"),
    ),
    "ledger": (
        "every submission with its cv and the board's scores; name= public= private= enters them",
        ("paths", "name", "public", "private"),
    ),
}

# What a disk that is full, read-only or not there answers.
OUTPUT_ERRORS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.ENOENT,
    errno.EFBIG,
)

USAGE = """usage: python -m deepfake STAGE [STAGE …] [preset=NAME] [key=value …]
       python -m deepfake infer FILE [FILE …] [name=RUN] [key=value …]      pictures, clips, folders, patterns in quotes
       python -m deepfake check FILE [key=value …]
       python -m deepfake STAGE --help      every key that the stage reads"""


class _BarFriendly(logging.Handler):
    """Writes lines to standard error, above a progress bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        if "tqdm" in sys.modules:
            sys.modules["tqdm"].tqdm.write(self.format(record), file=sys.stderr)
        else:
            sys.stderr.write(self.format(record) + "\n")


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 2 a user's mistake (told in one line), 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--version" in arguments:
        print(f"deepfake {__version__}")
        return 0
    options = [word for word in arguments if "=" in word and not _is_odd_file(word)]
    words = [word for word in arguments if word not in options and not word.startswith("-")]
    files = [word for word in words if _is_file(word)]
    stages = [word for word in words if word not in files]
    try:
        _check_words(arguments, stages)
        stages, options = _name_files(files, stages, options)
        if not stages or "--help" in arguments or "-h" in arguments:
            print(_help(stages))
        else:
            _start_log()
            _run(stages, options)
    except UserError as error:
        message = str(error).rpartition("UserError: ")[2].strip()  # torch puts a worker's traceback before
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("deepfake"):
            raise
        message = f"{sys.executable} lacks {error.name}: pip install -r requirements.txt"
    except BrokenPipeError:  # `… --help | head` has read enough
        return 0
    except OSError as error:
        if error.errno not in OUTPUT_ERRORS:
            raise
        message = f"{error.filename or 'writing'}: {error.strerror}; what is finished is kept"
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from what is finished", file=sys.stderr)
        return 130
    else:
        return 0
    print(f"error: {message}", file=sys.stderr)
    return 2


def _run(stages: list[str], options: list[str]) -> None:
    started_s = time.monotonic()
    # Read when torch is loaded: threads that wait for one another soon sleep, instead of burning the cores that loader
    # processes and other programs need.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    cfg = _configure(stages, options)
    stages = [stage for stage in STAGES if stage in stages]  # in the pipeline's order, however they were typed
    modules = [importlib.import_module(f"deepfake.stages.{stage}") for stage in stages]
    for number, module in enumerate(modules):
        if stages[number] in ("extract", "train"):  # which can take hours: what is wrong with the rest is said before
            for later in modules[number + 1 :]:
                later.check(cfg)
        if stages[number] == "train" and cfg.gpus * cfg.nnodes > 1 and "TORCHELASTIC_RUN_ID" not in os.environ:
            module.check(cfg)
            importlib.import_module("deepfake.stages.launch").train_together(cfg, options)
        elif stages[number] == "infer":  # whose budget is that of all it takes, but for training
            module.run(cfg, None if "train" in stages else started_s)
        else:
            module.run(cfg)


def _configure(stages: list[str], options: list[str]) -> Config:
    """Inference without training goes by the configuration of the run that it continues, and needs test crops alone;
    a check by itself goes by the one that lies beside the file."""
    from deepfake.stages.common import run_to_continue, run_to_judge, submission_to_check

    cfg = load_config(options)
    if stages == ["judge"]:
        return continue_run(*run_to_judge(cfg), options)
    if stages == ["check"]:
        return continue_submission(*submission_to_check(cfg), options)
    if "infer" in stages and "train" not in stages:
        blended = "blend" in stages and cfg.runs  # what is still to be blended goes by the first of its runs
        trained = replace(cfg, name=cfg.runs[0], runs=[]) if blended else cfg
        return continue_run(cfg.run, run_to_continue(trained), ["extract.split=test", *options])
    return cfg


def _check_words(arguments: list[str], stages: list[str]) -> None:
    for word in stages:
        if word not in STAGES and (word.isdecimal() or any(key == word for key, _, _ in knobs(Config()))):
            raise UserError(f"{word!r}: settings are written key=value, e.g. fold=0; --help prints the keys")
        if word not in STAGES:
            raise UserError(f"{word!r} is not a stage; there are {', '.join(STAGES)}.{closest(word, list(STAGES))}")
    for word in arguments:
        if word.startswith("-") and word not in ("--help", "-h"):
            raise UserError(f"{word!r}: settings are written key=value, without dashes; --help prints the keys")


def _is_file(word: str) -> bool:
    """Whether a word names files: it is neither a stage nor a key, and there, or written like a path or a pattern."""
    keys = {key for key, _, _ in knobs(Config())}
    if word in STAGES or word in keys:
        return False
    is_mistyped_key = word.partition(".")[0] in {key.partition(".")[0] for key in keys if "." in key}
    return os.path.exists(word) or (any(sign in word for sign in "/.*?") and not is_mistyped_key)


def _is_odd_file(word: str) -> bool:
    """Whether a word with = in it names a file."""
    return os.path.exists(word) and word.partition("=")[0] not in {key for key, _, _ in knobs(Config())}


def _name_files(files: list[str], stages: list[str], options: list[str]) -> tuple[list[str], list[str]]:
    """Stages and options, with the files that were named as words in input=. Inference of files is judging them, which
    needs neither an index nor crops of a data set."""
    named = [option.removeprefix("input=") for option in options if option.startswith("input=")] + files
    if not named or not stages:
        return stages, options
    if "check" in stages and len(named) > 1:
        raise UserError(f"{', '.join(named)}: one file at a time")
    judged = {"infer", "judge"} & {*stages} and {*stages} <= {"index", "extract", "infer", "judge"}
    if "check" not in stages and not judged:
        raise UserError(f"{named[0]!r} is a file, which only infer and check take: python -m deepfake infer {named[0]}")
    rest = [option for option in options if not option.startswith("input=")]
    return stages if "check" in stages else ["judge"], [*rest, "input=" + "\n".join(named)]


def _help(stages: list[str]) -> str:
    if not stages:
        lines = [f"  {name:<9}{about}" for name, (about, _) in STAGES.items()]
        return "\n".join([USAGE, "", "stages:", *lines, "", f"presets: {', '.join(presets())}"])
    blocks = [f"{stage}: {STAGES[stage][0]}\n{help_text((*STAGES[stage][1], 'preset'))}" for stage in stages]
    return "\n\n".join([USAGE, *blocks, f"presets: {', '.join(presets())}"])


def _start_log() -> None:
    from deepfake.stages.common import speaks

    handler = _BarFriendly()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("deepfake")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO if speaks() else logging.ERROR)


def console() -> None:
    """The `deepfake` command."""
    sys.exit(main())


if __name__ == "__main__":
    console()
