"""The figures of a comparison, against hyperfine's for the same commands.

Each cell names the command that repeats it. hyperfine times that very command, as a whole process,
right after the comparison; a machine's pace drifts, so each has three tries. They agree where the
medians differ by less than the two spreads (distances of the quartiles) together, or by a tenth.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

import pytest

from ringlet.compare.comparison import Limits, compare
from ringlet.compare.lab import Settings
from ringlet.compare.report import Cell

pytestmark = [pytest.mark.needs_hyperfine, pytest.mark.slow]

ROUNDS = 15
TRIES = 3
WAYS = [
    "process",
    pytest.param("container", marks=pytest.mark.needs_root),
    pytest.param("tiny-vm", marks=pytest.mark.needs_kvm),
]


def cells(folder: Path, measure: str, way: str) -> dict[str, Cell]:
    settings = Settings(keep=str(folder / f"lab-{len(list(folder.iterdir()))}"))
    report = compare(settings, [way], [measure], Limits(least=ROUNDS, most=ROUNDS))
    return {row.name: row.ways[way] for row in report.measures}


def hyperfine(folder: Path, *commands: str) -> list[list[float]]:
    """Milliseconds of each run of each command."""
    out = folder / "hyperfine.json"
    subprocess.run(
        ["hyperfine", "-N", "--warmup=2", f"--runs={ROUNDS}", f"--export-json={out}", *commands],
        check=True,
        capture_output=True,
    )
    results = json.loads(out.read_text())["results"]
    return [[second * 1e3 for second in result["times"]] for result in results]


def spread(samples: list[float]) -> float:
    first, _, third = quantiles(samples, n=4)
    return third - first


def agree(attempt: Callable[[], tuple[Cell, float, float]]) -> None:
    seen = []
    for _ in range(TRIES):
        ours, theirs, their_spread = attempt()
        assert ours.median is not None, ours.error
        assert ours.spread is not None
        seen.append((ours.median, ours.spread, theirs, their_spread))
        if abs(ours.median - theirs) <= max(ours.spread + their_spread, 0.1 * theirs):
            return
    pytest.fail(f"median and spread, ours and hyperfine's: {seen}")


@pytest.mark.parametrize("way", WAYS)
def test_the_whole_process_takes_as_long_as_hyperfine_says(tmp_path: Path, way: str) -> None:
    def attempt() -> tuple[Cell, float, float]:
        ours = cells(tmp_path, "startup", way)["command-end"]
        assert ours.command is not None
        (theirs,) = hyperfine(tmp_path, ours.command)
        return ours, median(theirs), spread(theirs)

    agree(attempt)


@pytest.mark.parametrize("way", WAYS)
def test_the_loop_takes_as_long_as_hyperfine_says(tmp_path: Path, way: str) -> None:
    """A run with 10 loops less one with 5: what they need besides is the same in both."""

    def attempt() -> tuple[Cell, float, float]:
        ours = cells(tmp_path, "processor", way)["loop"]
        assert ours.command is not None
        words = "loop 20000000 sort 200000 hash 16384"
        assert words in ours.command
        few, many = hyperfine(
            tmp_path,
            *(ours.command.replace(words, " ".join(["loop 20000000"] * n)) for n in (5, 10)),
        )
        return ours, (median(many) - median(few)) / 5, (spread(few) + spread(many)) / 5

    agree(attempt)
