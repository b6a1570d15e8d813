"""The time when this process began. It is imported first: the timings of `--json` start here."""

from __future__ import annotations

import time

START_NS = time.monotonic_ns()  # CLOCK_MONOTONIC in nanoseconds
