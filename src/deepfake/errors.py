"""The one error that a user sees as a line instead of a traceback; and whose mistake any other error is."""

from __future__ import annotations


class UserError(ValueError):
    """A user's mistake: the message says what came, what is allowed, where, and what to do. Exit status 2."""


def closest(name: str, allowed: list[str]) -> str:
    """`name`'s nearest neighbour as ` Did you mean 'x'?`, or an empty string when nothing is near."""
    import difflib

    near = difflib.get_close_matches(name, allowed, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def raised_within(error: BaseException, *packages: str) -> bool:
    """Whether an error was raised by the code of one of these packages (PIL, torch, …), and not by our own.

    Libraries that read damaged files trip over them in any way that Python has. Whoever catches `Exception` around
    such a call asks this, and raises the error again where the answer is no: it is a mistake of ours then.
    """
    trace, module = error.__traceback__, ""
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "")
        trace = trace.tb_next
    return module.partition(".")[0] in packages
