"""Debian's own kernels run a command in a guest of each shape, and end as they should."""

import os
import re
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from ringlet import Machine, MachineConfig, boot
from ringlet.board import layout
from ringlet.boot import bzimage
from ringlet.boot.payload_cache import open_vmlinux
from ringlet.linux.command import Completed, run

from .needs import lacks

LONG = 180  # seconds, on a machine that is emulated and busy
REPORT = """
echo '--- release'; uname -r
echo '--- cmdline'; cat /proc/cmdline
echo '--- cpuinfo'; cat /proc/cpuinfo
echo '--- interrupts'; cat /proc/interrupts
echo '--- iomem'; cat /proc/iomem
echo '--- clocksource'; cat /sys/devices/system/clocksource/clocksource0/current_clocksource
echo '--- date'; date +%s
echo '--- random'; dmesg | grep random:
echo '--- warnings'; dmesg -r | grep '^<[0-4]>'
exit 42
"""


class Shape(NamedTuple):
    kernel: str  # the fixture's name
    cpus: int
    memory: int  # bytes

    def __str__(self) -> str:
        return f"{self.kernel}-{self.cpus}-{self.memory // layout.MIB}M"


class Guest:
    """What a kernel says of the machine that it found, in sections."""

    def __init__(self, shape: Shape, kernel: Path) -> None:
        self.shape = shape
        self.release = kernel.name.removeprefix("vmlinuz-")
        self.started = time.time()
        self.done = run(kernel, REPORT, cpus=shape.cpus, memory=shape.memory, timeout=LONG)
        self.ended = time.time()
        parts = re.split(r"^--- (\w+)\n", self.done.stdout.decode(), flags=re.MULTILINE)
        self.sections = dict(zip(parts[1::2], parts[2::2], strict=True))

    def __getitem__(self, section: str) -> str:
        assert section in self.sections, self.done
        return self.sections[section].strip()


def physical_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


SHAPES = [
    *(Shape("cloud_kernel", cpus, 256 * layout.MIB) for cpus in (1, 2, 4)),
    *(Shape("generic_kernel", cpus, 256 * layout.MIB) for cpus in (1, 2, 4)),
    Shape("cloud_kernel", 2, 6 * layout.GIB),  # half of it beyond the hole
]


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def guest(request: pytest.FixtureRequest) -> Guest:
    shape: Shape = request.param
    kernel: Path = request.getfixturevalue(shape.kernel)
    if shape.memory > physical_memory():
        lacks(f"a machine with more than {shape.memory // layout.GIB} GiB (NESTED_MEMORY=)")
    return Guest(shape, kernel)


def test_a_command_runs_and_its_output_and_status_come_back(guest: Guest) -> None:
    assert (guest.done.reason, guest.done.status) == ("exit", 42), guest.done
    assert guest["release"] == guest.release
    assert guest.done.stderr == b""
    assert {"console=ttyS0", "panic=-1", "quiet"} <= set(guest["cmdline"].split())


def test_every_vcpu_is_a_core_of_one_socket(guest: Guest) -> None:
    cpus = guest.shape.cpus
    for key, values in {
        "processor": range(cpus),
        "core id": range(cpus),
        "physical id": [0] * cpus,
        "siblings": [cpus] * cpus,
    }.items():
        found = re.findall(rf"^{key}\s*: (\d+)$", guest["cpuinfo"], re.MULTILINE)
        assert [int(value) for value in found] == list(values), key


def test_interrupts_have_their_devices_and_none_is_spurious(guest: Guest) -> None:
    cpus = guest.shape.cpus
    counts: dict[str, list[int]] = {}
    devices: dict[str, list[str]] = {}
    for line in guest["interrupts"].splitlines()[1:]:
        name, *words = line.split()
        counts[name] = [int(word) for word in words[:cpus] if word.isdigit()]
        devices[name] = words[cpus:]
    for number, kind, device in (
        (layout.COM1_IRQ, "edge", "ttyS0"),
        (layout.RTC_IRQ, "edge", "rtc0"),
        (layout.SCI_IRQ, "fasteoi", "acpi"),
    ):
        assert devices[f"{number}:"] == ["IO-APIC", f"{number}-{kind}", device]
    assert all(count > 0 for count in counts["LOC:"]), "every core's timer"
    console = f"{layout.VIRTIO_IRQS[0]}:"
    assert devices[console][-1] == "virtio0"
    assert sum(counts[console]) > 0, "the command's output"
    assert sum(counts[f"{layout.SCI_IRQ}:"]) == 0, "a level that nobody raises"
    for name in ("NMI:", "SPU:", "ERR:", "MIS:"):
        assert sum(counts[name]) == 0, name


def test_ram_lies_where_the_layout_says(guest: Guest) -> None:
    found = [
        (int(first, 16), int(last, 16) + 1, name)
        for first, last, name in re.findall(
            r"^([0-9a-f]+)-([0-9a-f]+) : (.*)$", guest["iomem"], re.MULTILINE
        )
    ]
    (_, low), *high = layout.ram_ranges(guest.shape.memory)
    assert (layout.HIGH_MEMORY, low, "System RAM") in found
    assert (layout.LOW_RAM_END, layout.HIGH_MEMORY, "Reserved") in found, "the ACPI tables, too"
    beyond = [(first, end) for first, end, name in found if first >= layout.MMIO_HOLE_END]
    assert beyond == [(first, first + size) for first, size in high]
    hole = [name for first, end, name in found if first < layout.MMIO_HOLE_END and end > low]
    assert "System RAM" not in hole


def test_the_clock_is_the_hosts(guest: Guest) -> None:
    assert guest["clocksource"] == "kvm-clock"
    assert guest.started - 2 < int(guest["date"]) < guest.ended + 2


def test_random_numbers_are_there_from_the_start(guest: Guest) -> None:
    assert re.search(r"^\[ +0\.0{6}\] random: crng init done$", guest["random"], re.MULTILINE)


def test_the_kernel_warns_of_nothing_that_the_machine_lacks(guest: Guest) -> None:
    faults = r"(?i)^.*(?:acpi|bios|mtrr|apic|firmware|serial8250|tsc|nobody cared).*$"
    assert not re.findall(faults, guest["warnings"], re.MULTILINE)


# Ends.


def end(done: Completed) -> tuple[str, int]:
    return done.reason, done.status


@pytest.mark.parametrize(
    ("command", "cpus"), [("poweroff -f", 1), ("reboot -f", 2), ("halt -f", 2)], ids=str
)
def test_an_end_before_the_commands_is_no_good_one(
    cloud_kernel: Path, command: str, cpus: int
) -> None:
    done = run(cloud_kernel, f"{command}; sleep {LONG}", cpus=cpus, timeout=LONG)
    assert end(done) == ("no-status", 70), done


def test_a_panic_is_the_guests_and_the_kernels_last_words_are_kept(cloud_kernel: Path) -> None:
    done = run(cloud_kernel, "echo out; echo c >/proc/sysrq-trigger", timeout=LONG)
    assert end(done) == ("panic", 70), done
    assert done.stdout == b"out\n"
    assert b"Kernel panic - not syncing: sysrq triggered crash" in done.console


def test_so_it_is_without_the_kernels_modules(cloud_kernel: Path, tmp_path: Path) -> None:
    kernel = tmp_path / "kernel"
    kernel.write_bytes(cloud_kernel.read_bytes())
    done = run(kernel, "lsmod; echo c >/proc/sysrq-trigger", timeout=LONG)
    assert end(done) == ("panic", 70), done
    assert b"pvpanic" not in done.stdout


def test_so_it_is_before_there_is_an_init(generic_kernel: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    config = MachineConfig(image=generic_kernel, cmdline="quiet", serial=str(log), timeout=LONG)
    with Machine(config) as machine:
        result = machine.run()
    assert (result.reason, result.status) == ("panic", 70)
    assert "Unable to mount root fs" in log.read_text(errors="replace")


@pytest.mark.parametrize("cpus", [1, 2])
def test_a_command_that_hangs_ends_at_the_timeout(cloud_kernel: Path, cpus: int) -> None:
    done = run(cloud_kernel, "while :; do :; done", cpus=cpus, timeout=10)
    assert end(done) == ("timeout", 124), done


# Each way in.


def test_a_kernel_may_decompress_itself(cloud_kernel: Path) -> None:
    done = run(cloud_kernel, "exit 3", decompress="guest", timeout=LONG)
    assert end(done) == ("exit", 3), done


@pytest.mark.parametrize("protocol", ["linux", "pvh"])
def test_a_vmlinux_runs_a_command_by_both_its_protocols(
    cloud_kernel: Path, tmp_path: Path, protocol: str
) -> None:
    vmlinux = tmp_path / "vmlinux"
    with (
        boot.open_image(cloud_kernel) as image,
        open_vmlinux(image, bzimage.parse(image)) as payload,
    ):
        vmlinux.write_bytes(payload.read(0, payload.size))
    options = {"protocol": protocol, "cpus": 2, "memory": 256 * layout.MIB, "timeout": LONG}
    done = run(vmlinux, "nproc; exit 3", **options)
    assert end(done) == ("exit", 3), done
    assert done.stdout == b"2\n"
