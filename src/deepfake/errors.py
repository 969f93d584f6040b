"""The one error that a user sees as a line instead of a traceback."""


class UserError(ValueError):
    """A user's mistake: the message says what came, what is allowed, where, and what to do. Exit status 2."""


def closest(name: str, allowed: list[str]) -> str:
    """`name`'s nearest neighbour as ` Did you mean 'x'?`, or an empty string when nothing is near."""
    import difflib

    near = difflib.get_close_matches(name, allowed, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
