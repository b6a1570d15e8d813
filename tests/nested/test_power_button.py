"""A stock kernel hears the power button, and a program in it powers off."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ringlet import Machine, MachineConfig

from .initramfs import initramfs
from .needs import lacks

LONG = 120
MODULES = ("button.ko", "evdev.ko")


@pytest.fixture
def modules(cloud_kernel: Path, kernel_modules: Callable[[Path], Path]) -> list[Path]:
    """What a distribution's init loads: the button's driver, and events for programs."""
    found = {path.name: path for path in kernel_modules(cloud_kernel).rglob("*.ko")}
    if not found.keys() >= set(MODULES):
        lacks(f"{' and '.join(MODULES)}: remove ~/.cache/ringlet/nested and fetch the kernel again")
    return [found[name] for name in MODULES]


@pytest.mark.parametrize("cpus", [1, 2])
def test_stop_lets_linux_power_off(cloud_kernel: Path, modules: list[Path], cpus: int) -> None:
    script = f"""
insmod /modules/{MODULES[0]}
insmod /modules/{MODULES[1]}
grep -q 'Power Button' /proc/bus/input/devices || echo no button
exec 9</dev/input/event0
echo listens
head -c 24 <&9 >/dev/null
grep ' acpi$' /proc/interrupts
poweroff -f
"""
    config = MachineConfig(
        image=cloud_kernel,
        initrd=initramfs(script, modules),
        cmdline="quiet",
        cpus=cpus,
        serial="pipe",
        timeout=LONG,
    )
    with Machine(config) as machine:
        machine.start()
        said = machine.serial.read_until(b"listens\r\n")
        assert b"no button" not in said
        result = machine.stop(LONG)
        said += machine.serial.read()
    assert (result.reason, result.status) == ("power-off", 0), said
    (line,) = (line.split() for line in said.decode().splitlines() if line.endswith(" acpi"))
    assert line[0] == "9:"
    assert sum(map(int, line[1 : 1 + cpus])) == 1, "a press is one interrupt"


def test_stop_ends_linux_when_nobody_obeys(cloud_kernel: Path, modules: list[Path]) -> None:
    script = "insmod /modules/button.ko; echo listens; sleep 1000"
    initrd = initramfs(script, modules)
    config = MachineConfig(
        image=cloud_kernel, initrd=initrd, cmdline="quiet", serial="pipe", timeout=LONG
    )
    with Machine(config) as machine:
        machine.start()
        machine.serial.read_until(b"listens\r\n")
        started = time.monotonic()
        result = machine.stop(2)
        assert time.monotonic() - started >= 2
    assert (result.reason, result.status) == ("stopped", 143)


def test_without_the_buttons_driver_nobody_listens(cloud_kernel: Path) -> None:
    config = MachineConfig(
        image=cloud_kernel,
        initrd=initramfs("echo runs; sleep 1000"),
        cmdline="quiet",
        serial="pipe",
        timeout=LONG,
    )
    with Machine(config) as machine:
        machine.start()
        machine.serial.read_until(b"runs\r\n")
        assert not machine.control.press_power_button()
