"""Judges the claims by a report of `ringlet compare`, and prints a line for each: NAME: VERDICT.

    python3 judge.py report.json
"""

import json
import sys

CLAIMS = ("computes", "starts", "calls", "exits", "memory", "kernel")


def main(path):
    with open(path) as file:
        report = json.load(file)
    rows = {row["name"]: row for row in report["measures"]}
    print(len(rows), "rows in the report", file=sys.stderr)

    # Step 2: the rules. A cell is rows["loop"]["ways"]["process"], and the unit of a row is
    # rows["loop"]["unit"].
    for name in CLAIMS:
        print(f"{name}: unclear")


main(sys.argv[1])
