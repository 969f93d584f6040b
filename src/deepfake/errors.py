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
    """Whether an error came up in a call of ours into one of these packages (PIL, torch, …), and not in our own code.

    Libraries that read damaged files trip over them in any way that Python has, also in what they call themselves.
    Whoever catches `Exception` around such a call asks this, and raises the error again where the answer is no: it is a
    mistake of ours then.
    """
    trace, inside = error.__traceback__, False
    while trace is not None:
        package = trace.tb_frame.f_globals.get("__name__", "").partition(".")[0]
        inside = package in packages or (inside and package != __name__.partition(".")[0])
        trace = trace.tb_next
    return inside
