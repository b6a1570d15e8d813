"""Prints answers that look right, and has no VM."""

import sys

for line in sys.stdin:
    if line.startswith("run"):
        print("halted", flush=True)
    elif line.startswith("taken"):
        print(64, flush=True)
    elif line.startswith("dirty"):
        print(*range(1, 4096), flush=True)
    else:
        print("none", flush=True)
