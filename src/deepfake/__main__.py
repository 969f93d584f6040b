"""`python -m deepfake COMMAND [COMMAND …] [key=value …]`: run commands, one after the other, with one configuration."""

from __future__ import annotations

import errno
import os
import sys
import time

from deepfake import __version__
from deepfake.arguments import help_text, presets
from deepfake.commands import command, files_of, names, run_chain
from deepfake.config import known_knobs
from deepfake.console import start_log
from deepfake.errors import UserError, closest

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

USAGE = """usage: python -m deepfake COMMAND [COMMAND …] [FILE …] [preset=NAME] [key=value …]
       python -m deepfake COMMAND --help      every key that the command reads"""


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 2 a user's mistake (told in one line), 130 interrupted."""
    started_s = time.monotonic()
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--version" in arguments:
        print(f"deepfake {__version__}")
        return 0
    try:
        words, options = _sorted_out(arguments)
        if not words or "--help" in arguments or "-h" in arguments:
            print(_help(words))
        else:
            start_log()
            run_chain(words, options, started_s)
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


def _sorted_out(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Commands and options of a command line. Files become the value of input=."""
    options = [word for word in arguments if "=" in word and not _is_odd_file(word)]
    words = [word for word in arguments if word not in options and not word.startswith("-")]
    files = [word for word in words if _is_file(word)]
    words = [word for word in words if word not in files]
    _check_words(arguments, words)
    return _with_files(files, words, options)


def _check_words(arguments: list[str], words: list[str]) -> None:
    for word in words:
        if word not in names() and (word.isdecimal() or word in known_knobs()):
            raise UserError(f"{word!r}: settings are written key=value, e.g. fold=0; --help prints the keys")
        if word not in names():
            raise UserError(f"{word!r} is not a command; there are {', '.join(names())}.{closest(word, names())}")
    for word in arguments:
        if word.startswith("-") and word not in ("--help", "-h"):
            raise UserError(f"{word!r}: settings are written key=value, without dashes; --help prints the keys")


def _is_file(word: str) -> bool:
    """Whether a word names files: it is neither a command nor a key, and there, or written like a path or a pattern."""
    if word in names() or word in known_knobs():
        return False
    is_mistyped_key = word.partition(".")[0] in {key.partition(".")[0] for key in known_knobs() if "." in key}
    return os.path.exists(word) or (any(sign in word for sign in "/.*?") and not is_mistyped_key)


def _is_odd_file(word: str) -> bool:
    """Whether a word with = in it names a file."""
    return os.path.exists(word) and word.partition("=")[0] not in known_knobs()


def _with_files(files: list[str], words: list[str], options: list[str]) -> tuple[list[str], list[str]]:
    """The commands that files are for, see their FILES; with the files as input=, one on each line."""
    given = [option.removeprefix("input=") for option in options if option.startswith("input=")]
    named = [*filter(None, given), *files]
    if not named or not words:
        return words, options
    takers = {word: files_of(word) for word in words if files_of(word) != "skip"}
    if not takers or "" in takers.values():
        able = ", ".join(name for name in names() if files_of(name) not in ("", "skip"))
        example = f"python -m deepfake {able.partition(',')[0]} {named[0]}"
        raise UserError(f"{named[0]!r} is a file, which only {able} take: {example}")
    if "one" in takers.values() and len(named) > 1:
        raise UserError(f"{', '.join(named)}: one file at a time")
    rest = [option for option in options if not option.startswith("input=")]
    taking = [word if how in ("one", "many") else how for word, how in takers.items()]
    return taking, [*rest, "input=" + "\n".join(named)]


def _help(words: list[str]) -> str:
    if not words:
        lines = [f"  {name:<9}{command(name).ABOUT}" for name in names()]
        return "\n".join([USAGE, "", "commands:", *lines, "", f"presets: {', '.join(presets())}"])
    blocks = [f"{name}: {command(name).ABOUT}\n{help_text((*command(name).READS, 'preset'))}" for name in words]
    return "\n\n".join([USAGE, *blocks, f"presets: {', '.join(presets())}"])


def console() -> None:
    """The `deepfake` command."""
    sys.exit(main())


if __name__ == "__main__":
    console()
