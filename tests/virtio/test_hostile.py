"""A hostile driver hurts nobody but itself (fuzz.py says how). `make fuzz` does it for longer."""

import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringlet.host.tap import Tap

from ..networks import HOST, interfaces, own_network
from .fuzz import Arena, fuzz

pytestmark = pytest.mark.usefixtures("no_leak")

OPERATIONS = int(os.environ.get("FUZZ_OPERATIONS") or 300_000)
SEED = int(os.environ.get("FUZZ_SEED") or random.getrandbits(32))


def test_a_hostile_driver_hurts_nobody_but_itself(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def report(line: str) -> None:
        with capfd.disabled():
            print(line, flush=True)

    fuzz(tmp_path, OPERATIONS, SEED, report if "FUZZ_OPERATIONS" in os.environ else print)


@pytest.mark.needs_tap
@pytest.mark.needs_busybox
def test_a_hostile_driver_with_an_interface_of_the_host_hurts_nobody(tmp_path: Path) -> None:
    with own_network():
        tap = Tap("vm0", address=(HOST, 24))
        fuzz(tmp_path, OPERATIONS // 8, SEED, print, tap)
        assert interfaces() == ["lo"]


def test_no_short_burst_hurts_anybody(tmp_path: Path) -> None:
    with Arena(tmp_path) as arena:

        @settings(deadline=None)
        @given(st.integers(0, 1 << 64), st.integers(1, 40))
        def burst(seed: int, steps: int) -> None:
            arena.burst(random.Random(seed), steps)
            arena.check()

        burst()
