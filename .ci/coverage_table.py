"""Print how much of each package the last tests ran, from the .coverage that they left here."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from coverage import Coverage

SOURCES = Path(__file__).resolve().parents[1] / "src"


def main() -> None:
    """A line a package, the least covered first; what lies in no package is called deepfake."""
    measured = Coverage()
    measured.load()
    lines, missed = Counter[str](), Counter[str]()
    for path in measured.get_data().measured_files():
        _, statements, _, missing, _ = measured.analysis2(path)
        name = ".".join(Path(path).relative_to(SOURCES).parent.parts[:2])
        lines[name] += len(statements)
        missed[name] += len(missing)
    for name in sorted(lines, key=lambda name: -missed[name] / lines[name]):
        print(f"{100 * (1 - missed[name] / lines[name]):6.1f} %  {lines[name]:5} lines  {name}")
    print(f"{100 * (1 - missed.total() / lines.total()):6.1f} %  {lines.total():5} lines in all")


if __name__ == "__main__":
    main()
