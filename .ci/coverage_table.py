"""The share of lines that tests ran, a line for each package: python .ci/coverage_table.py coverage.json"""

import json
import sys
from collections import Counter
from pathlib import Path

files = json.loads(Path(sys.argv[1]).read_text())["files"]
lines: Counter[str] = Counter()
covered: Counter[str] = Counter()
for path, found in files.items():
    parts = Path(path).parts
    inside = parts[parts.index("deepfake") + 1 :]
    package = inside[0] if len(inside) > 1 else "deepfake"
    for name in (package, "all"):
        lines[name] += found["summary"]["num_statements"]
        covered[name] += found["summary"]["covered_lines"]
print("lines that were run in the tests' own processes:")
for name in sorted(lines, key=lambda name: (name == "all", name)):
    print(f"  {name:<10} {100 * covered[name] / lines[name]:5.1f} % of {lines[name]}")
