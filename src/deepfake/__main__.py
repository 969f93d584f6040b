"""`python -m deepfake COMMAND [COMMAND …] [key=value …]`: run commands, one after the other, with one configuration."""

from __future__ import annotations

import errno
import os
import sys
import time

from deepfake import __version__
from deepfake.arguments import help_text, presets
from deepfake.commands import check_names, command, files_of, names, run_chain
from deepfake.config import known_knobs
from deepfake.console import start_log
from deepfake.errors import UserError

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

USAGE = """usage: python -m deepfake COMMAND [COMMAND …] [preset=NAME] [key=value …]
       python -m deepfake COMMAND --help      every key that the command reads, and whether files may be named"""


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
    return words, [*options, *(f"input={file}" for file in files)]


def _check_words(arguments: list[str], words: list[str]) -> None:
    for word in words:
        if word not in names() and (word.isdecimal() or word in known_knobs()):
            raise UserError(f"{word!r}: settings are written key=value, e.g. fold=0; --help prints the keys")
    check_names(words)
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


def _help(words: list[str]) -> str:
    if not words:
        lines = [f"  {name:<9}{command(name).ABOUT}" for name in names()]
        return "\n".join([USAGE, "", "commands:", *lines, "", f"presets: {', '.join(presets())}"])
    blocks = [f"{_usage(name)}{command(name).ABOUT}\n{help_text((*command(name).READS, 'preset'))}" for name in words]
    return "\n\n".join([*blocks, f"presets: {', '.join(presets())}"])


def _usage(name: str) -> str:
    """`usage: python -m deepfake NAME …`, with the files that may be named beside it."""
    files = {"": "", "skip": "", "one": " FILE"}.get(files_of(name), " [FILE | FOLDER | 'PATTERN' …]")
    return f"usage: python -m deepfake {name}{files} [preset=NAME] [key=value …]\n\n{name}: "


def console() -> None:
    """The `deepfake` command."""
    sys.exit(main())


if __name__ == "__main__":
    console()
