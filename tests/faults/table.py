"""python -m tests.faults.table outcomes.jsonl docs/reliability.md: the table of that page, from what was found."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

BEGIN, END = "<!-- faults: made by tests/faults/table.py -->", "<!-- end of faults -->"
BAD = ("WRONG", "traceback")


def read(lines: str) -> dict[str, Counter[str]]:
    """{fault: {outcome: how often}} of the JSON lines that the suite writes; what is wrong loses its details."""
    found: dict[str, Counter[str]] = {}
    for line in lines.splitlines():
        entry = json.loads(line)
        outcome = entry["outcome"].partition(":")[0]
        found.setdefault(entry["fault"], Counter())[outcome] += entry["times"]
    return found


def table(found: dict[str, Counter[str]]) -> str:
    """One row for each fault, sorted: how often it was tried, and what came of it."""
    rows = ["| fault | tried | what came of it |", "|---|---|---|"]
    for fault, outcomes in sorted(found.items()):
        ends = ", ".join(f"{times} {outcome}" for outcome, times in sorted(outcomes.items()))
        rows.append(f"| {fault} | {sum(outcomes.values())} | {ends} |")
    return "\n".join(rows)


def parse(page: str) -> dict[str, Counter[str]]:
    """The table of a page, as `read` gives it."""
    found: dict[str, Counter[str]] = {}
    for row in page.split(BEGIN)[1].split(END)[0].strip().splitlines()[2:]:
        fault, tried, ends = (cell.strip() for cell in row.strip("|").split("|"))
        outcomes = Counter({outcome: int(times) for times, outcome in (end.split(" ", 1) for end in _ends(ends))})
        if sum(outcomes.values()) != int(tried):
            raise ValueError(f"{fault}: {tried} were tried, but {sum(outcomes.values())} came to something")
        found[fault] = outcomes
    return found


def _ends(cell: str) -> list[str]:
    """`3 a sentence, resumed, 4 went on`: a new one begins at each number."""
    ends: list[str] = []
    for part in cell.split(", "):
        if part[0].isdigit():
            ends.append(part)
        else:
            ends[-1] += f", {part}"
    return ends


def main(outcomes: Path, page: Path) -> int:
    """Rewrite the page's table; 1 if anything in it is bad."""
    found = read(outcomes.read_text())
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{table(found)}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    return int(any(outcome in BAD for outcomes in found.values() for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
