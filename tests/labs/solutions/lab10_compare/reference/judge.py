"""Judges the claims by a report of `ringlet compare`, and prints a line for each: NAME: VERDICT.

    python3 judge.py report.json
"""

import json
import sys

# The claim: (row, way), (row, way), factor, the verdict if the first is more.
RULES = {
    "computes": (("loop", "tiny-vm"), ("loop", "process"), 1.1, "holds"),
    "starts": (
        ("inside-first-instruction", "tiny-vm"),
        ("inside-first-instruction", "container"),
        1,
        "holds",
    ),
    "calls": (("system-call", "container"), ("system-call", "process"), 1.05, "fails"),
    "exits": (("exit", "tiny-vm"), ("system-call", "process"), 10, "holds"),
    "memory": (("used", "tiny-vm"), ("idle", "tiny-vm"), 1.5, "fails"),
}
UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3}
ENOUGH = 3


def middle(rows, place):
    """The interval of a cell in seconds or MiB; None for too few samples."""
    row, way = place
    if row not in rows:
        return None
    samples = sorted(rows[row]["ways"].get(way, {}).get("samples", []))
    if len(samples) < ENOUGH:
        return None
    drop = len(samples) // 4
    unit = UNITS.get(rows[row]["unit"], 1)
    return samples[drop] * unit, samples[-1 - drop] * unit


def judge(rows, one, other, factor, if_more):
    first, second = middle(rows, one), middle(rows, other)
    if first is None or second is None:
        return "unclear"
    if first[0] > factor * second[1]:
        return if_more
    if first[1] < factor * second[0]:
        return "fails" if if_more == "holds" else "holds"
    return "unclear"


def judge_kernel(rows):
    cells = rows.get("kernel", {}).get("ways", {})
    texts = [cells.get(way, {}).get("text") for way in ("container", "process")]
    if None in texts:
        return "unclear"
    return "holds" if texts[0] == texts[1] else "fails"


def main(path):
    with open(path) as file:
        report = json.load(file)
    rows = {row["name"]: row for row in report["measures"]}
    for name, rule in RULES.items():
        print(f"{name}: {judge(rows, *rule)}")
    print(f"kernel: {judge_kernel(rows)}")


main(sys.argv[1])
