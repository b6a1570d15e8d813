"""A machine leaves nothing behind, and no guest makes ringlet's memory grow."""

import os
import select
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ringlet import ConfigError, ImageError, Machine, MachineConfig, RingletError

from ..machine_code import (
    FLOOD,
    SCAN_PORTS_FOR_EVER,
    SPIN,
    exit_with,
    machine,
    run,
)

pytestmark = [pytest.mark.needs_kvm, pytest.mark.usefixtures("no_leak", "no_memory_left")]


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def private_memory() -> int:
    """Bytes of anonymous memory that this process has mapped to write to."""
    total = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, permissions, _, _, _, *path = line.split()
        assert "kvm" not in "".join(path)
        if permissions.startswith("rw") and not path:
            start, end = (int(address, 16) for address in addresses.split("-"))
            total += end - start
    return total


@pytest.fixture
def no_memory_left() -> Iterator[None]:
    """The test leaves no guest's memory (64 MiB) and no vCPU's pages mapped."""
    before = private_memory()
    yield
    assert private_memory() - before < 32 << 20


def test_closing_without_a_run_leaves_nothing() -> None:
    machine(SPIN, serial="pipe").close()
    machine(SPIN, serial="pty").close()


def test_closing_twice_and_while_it_runs_leaves_nothing() -> None:
    made = machine(SPIN)
    made.start()
    made.close()
    made.close()


def test_an_exception_in_the_callers_code_ends_the_run() -> None:
    def careless() -> None:
        with machine(SPIN, serial="pipe") as made:
            made.start()
            raise KeyError

    with pytest.raises(KeyError):
        careless()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"image": b"\x7fELF" + bytes(100)}, ImageError),
        ({"image": b"text"}, ImageError),
        ({"image": b""}, ImageError),
        ({"image": "/nonexistent"}, ImageError),
        ({"image": "hello", "memory": 1 << 20}, ConfigError),
        ({"image": "hello", "modules": ("/nonexistent",)}, ImageError),
        ({"image": "hello", "modules": (sys.executable,), "memory": (1 << 20) + 8192}, ConfigError),
        ({"image": "hello", "cmdline": "x" * 5000}, ConfigError),
        ({"image": "hello", "protocol": "nosuch"}, ConfigError),
        ({"image": "hello16", "load_address": 1 << 20}, ConfigError),
        ({"image": "hello", "serial": "/nonexistent/file"}, RingletError),
        ({"image": b"text", "serial": "pty"}, ImageError),
    ],
)
def test_a_failure_to_open_leaves_nothing(
    options: dict[str, Any], error: type[RingletError]
) -> None:
    with pytest.raises(error):
        Machine(MachineConfig(**options))


def test_reads_of_every_port_take_no_memory() -> None:
    with machine(SCAN_PORTS_FOR_EVER, timeout=None) as made:
        made.start()
        grown = growth_between(lambda: made.unclaimed.reads, 5_000, 75_000)
    assert grown < 5 << 20


def test_a_flood_of_output_takes_no_memory() -> None:
    with machine(FLOOD, serial="pipe", timeout=None) as made:
        made.start()
        taken = 0

        def drain() -> int:
            nonlocal taken
            taken += len(made.serial.read())
            return taken

        grown = growth_between(drain, 20_000, 100_000)
    assert grown < 5 << 20


def growth_between(counter: Callable[[], int], first: int, last: int) -> int:
    """How much memory this process took while `counter()` went from `first` to `last`."""
    while counter() < first:
        select.select([], [], [], 0.001)
    before = resident()
    while counter() < last:
        select.select([], [], [], 0.001)
    return resident() - before


def test_a_hundred_machines_one_after_another_leave_nothing() -> None:
    run(exit_with(0))
    before = resident()
    for status in range(100):
        assert run(exit_with(status)).status == status
    assert resident() - before < 1 << 20
