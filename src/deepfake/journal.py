"""What a long stage has finished, one JSON line each: what makes it resumable after a kill at any moment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from deepfake.tables import replacing


@dataclass
class Journal:
    """Finished media, in the order in which they were finished.

    The first line holds a digest of the settings: a journal of other settings is thrown away. A line that a kill
    tore is ignored, and its medium done again. It stays when the table is written, so that media which join the data
    set later are all that has to be done then.
    """

    path: Path
    settings_digest: str

    def read(self) -> dict[str, dict[str, Any]]:
        """media_id → its entry, a dict that names its media_id."""
        if not self.path.is_file():
            return {}
        head, *lines = self.path.read_bytes().split(b"\n")
        if head.decode(errors="replace") != self.settings_digest:
            return {}
        entries = {}
        for line in lines[:-1]:  # what follows the last newline is empty, or torn
            try:
                entry = json.loads(line)
                entries[entry["media_id"]] = entry
            except (ValueError, KeyError, TypeError):  # a damaged line: its medium is done again
                continue
        return entries

    def is_of_other_settings(self) -> bool:
        """Whether the file was written with other settings."""
        if not self.path.is_file():
            return False
        with open(self.path, errors="replace") as handle:
            return handle.readline().strip() != self.settings_digest

    def open(self, entries: dict[str, dict[str, Any]]) -> TextIO:
        """The file, rewritten with the entries that hold, open for more; a line counts once it is flushed."""
        with replacing(self.path) as temporary:
            lines = [self.settings_digest, *(json.dumps(entry) for entry in entries.values())]
            temporary.write_text("\n".join(lines) + "\n")
        return open(self.path, "a")
