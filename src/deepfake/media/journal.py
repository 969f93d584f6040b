"""The media that are finished, one JSON line each: a command that was killed at any moment goes on after them."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from deepfake.files import replacing

_HEAD = '{"media_id": '
_DECODER = json.JSONDecoder()


@dataclass
class Journal:
    """Finished media, in the order in which they were finished; read line by line, as it may outgrow the memory.

    A line that a kill tore is ignored, and its medium done again. The journal stays when the table is written: what
    joins the data set later is then all that has to be done.
    """

    path: Path
    settings_digest: str
    """The first line: a journal of other settings is thrown away."""

    def read(self) -> Iterator[dict[str, Any]]:
        """Each medium's newest entry, a dict whose first key is media_id."""
        for _, line in self._lines():
            try:
                yield json.loads(line)
            except ValueError:  # a damaged line: its medium is done again
                continue

    def is_of_other_settings(self) -> bool:
        """Whether the file was written with other settings."""
        if not self.path.is_file():
            return False
        with open(self.path, "rb") as handle:
            return handle.readline().strip() != self.settings_digest.encode()

    def open(self, names: Container[str]) -> TextIO:
        """The file, rewritten with the entries of these media, open for more; a line counts once it is flushed."""
        with replacing(self.path) as temporary, open(temporary, "wb") as handle:
            handle.write(f"{self.settings_digest}\n".encode())
            handle.writelines(line for name, line in self._lines() if name in names)
        return open(self.path, "a")

    def _lines(self) -> Iterator[tuple[str, bytes]]:
        """The media_id and the line of each medium's newest entry."""
        if not self.path.is_file() or self.is_of_other_settings():
            return
        with open(self.path, "rb") as handle:
            newest = {name: number for number, line in enumerate(handle) if (name := _name_of(line)) is not None}
            handle.seek(0)
            for number, line in enumerate(handle):
                name = _name_of(line)
                if name is not None and newest[name] == number:
                    yield name, line


def _name_of(line: bytes) -> str | None:
    """The media_id that an entry's line begins with; None of other lines, and of one that a kill tore."""
    text = line.decode(errors="replace")
    if not (text.startswith(_HEAD) and text.endswith("\n")):
        return None
    try:
        name, _ = _DECODER.raw_decode(text, len(_HEAD))
    except ValueError:
        return None
    return name if isinstance(name, str) else None
