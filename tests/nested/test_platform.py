"""What a stock kernel makes of the platform: of CPUID, the ACPI tables, the clock, the resets."""

import re
import time
from calendar import timegm
from collections.abc import Callable
from pathlib import Path

import pytest

from ringlet import Machine, MachineConfig, Result

from .initramfs import initramfs

CPUS = 4
REPORT = """
echo '--- cpuinfo'; cat /proc/cpuinfo
echo '--- nproc'; nproc
echo '--- interrupts'; cat /proc/interrupts
echo '--- clocksource'; cat /sys/devices/system/clocksource/clocksource0/current_clocksource
echo '--- rtc'; cat /sys/class/rtc/rtc0/date /sys/class/rtc/rtc0/time
echo '--- date'; date -u +%s
echo '--- mtrr'; cat /proc/mtrr
echo '--- acpi'; cat /sys/bus/acpi/devices/*/path
echo '--- warnings'; dmesg -r | grep '^<[0-4]>'
echo '--- dmesg'; dmesg
echo '--- end'
poweroff -f
"""


def boot(folder: Path, kernel: Path, initrd: bytes, **options: object) -> tuple[Result, str]:
    """How it ended, and what its console said."""
    console = folder / "console"
    config = MachineConfig(
        image=kernel,
        initrd=initrd,
        serial=str(console),
        timeout=120,
        **options,  # type: ignore[arg-type]
    )
    with Machine(config) as machine:
        result = machine.run()
    return result, console.read_text(errors="replace").replace("\r\n", "\n")


class Report:
    """What a kernel of four vCPUs says, in sections."""

    def __init__(self, result: Result, console: str) -> None:
        self.ended = time.time()
        self.result = result
        self.console = console
        parts = re.split(r"^--- (\w+)\n", console, flags=re.MULTILINE)
        self.sections = dict(zip(parts[1::2], parts[2::2], strict=True))

    def __getitem__(self, section: str) -> str:
        assert section in self.sections, self.console
        return self.sections[section].strip()


@pytest.fixture(scope="module")
def report(cloud_kernel: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("platform")
    return Report(*boot(folder, cloud_kernel, initramfs(REPORT), cpus=CPUS, cmdline="quiet"))


def test_power_off_ends_the_run(report: Report) -> None:
    assert (report.result.reason, report.result.status) == ("power-off", 0), report.console


def test_processors_are_cores_of_one_socket(report: Report) -> None:
    assert report["nproc"] == str(CPUS)
    for key, values in {
        "processor": range(CPUS),
        "apicid": range(CPUS),
        "core id": range(CPUS),
        "physical id": [0] * CPUS,
        "siblings": [CPUS] * CPUS,
        "cpu cores": [CPUS] * CPUS,
    }.items():
        found = re.findall(rf"^{key}\s*: (\d+)$", report["cpuinfo"], re.MULTILINE)
        assert [int(value) for value in found] == list(values), key


def test_kvm_is_detected_and_its_clock_taken(report: Report) -> None:
    assert "Hypervisor detected: KVM" in report["dmesg"]
    assert report["clocksource"] == "kvm-clock"
    assert "TSC deadline timer available" in report["dmesg"]


def test_the_kernel_finds_no_fault_with_the_tables(report: Report) -> None:
    warnings = report["warnings"]
    assert not re.findall(r"(?i)^.*(?:acpi|bios|mtrr|apic|firmware).*$", warnings, re.MULTILINE)
    faults = r"^.*(?:ACPI (?:BIOS )?(?:Error|Warning)|Firmware (?:Bug|Warn)).*$"
    assert not re.findall(faults, report["dmesg"], re.MULTILINE)
    assert "ACPI: PM: (supports S0 S5)" in report["dmesg"]


def test_devices_are_found_by_acpi(report: Report) -> None:
    paths = set(report["acpi"].split())
    assert paths >= {"\\_SB_.COM1", "\\_SB_.RTC0", "\\_SB_.PEVT", "\\_SB_.C003"}


def test_interrupts_arrive_as_the_tables_say(report: Report) -> None:
    lines = {
        words[0]: words[1:]
        for words in map(str.split, report["interrupts"].splitlines())
        if words[0].endswith(":")
    }
    assert lines["4:"][CPUS:] == ["IO-APIC", "4-edge", "ttyS0"]
    assert lines["9:"][CPUS:] == ["IO-APIC", "9-fasteoi", "acpi"]
    assert all(int(count) > 0 for count in lines["LOC:"][:CPUS]), "every core's timer"


def test_the_clock_tells_the_hosts_time(report: Report) -> None:
    date, clock = report["rtc"].split()
    numbers = [int(number) for number in re.split("[-:]", f"{date}:{clock}")]
    for guest in (timegm(tuple(numbers)), int(report["date"])):
        assert report.ended - 60 < guest <= report.ended + 1
    assert "setting system clock to" in report["dmesg"]


def test_reboot_resets(cloud_kernel: Path, tmp_path: Path) -> None:
    result, console = boot(tmp_path, cloud_kernel, initramfs("reboot -f"), cmdline="quiet")
    assert (result.reason, result.status) == ("reset", 0), console


def test_a_panic_is_reported_by_the_pvpanic_driver(
    cloud_kernel: Path, kernel_modules: Callable[[Path], Path], tmp_path: Path
) -> None:
    found = kernel_modules(cloud_kernel).rglob("pvpanic*.ko*")
    drivers = {path.name.partition(".")[0]: path for path in found}
    order = [drivers["pvpanic"], drivers["pvpanic-mmio"]]
    script = "".join(f"insmod /modules/{path.name}\n" for path in order)
    script += "cat /proc/ioports; echo c >/proc/sysrq-trigger"
    initrd = initramfs(script, order)
    result, console = boot(tmp_path, cloud_kernel, initrd, cmdline="quiet panic=0")
    assert "QEMU0001:00" in console
    assert (result.reason, result.status) == ("panic", 70), console


def test_a_pits_interrupt_is_found_where_the_tables_say(cloud_kernel: Path, tmp_path: Path) -> None:
    # With neither KVM's clock nor a deadline timer, Linux calibrates and starts by the PIT.
    result, console = boot(
        tmp_path,
        cloud_kernel,
        initramfs("cat /proc/interrupts; sleep 1; poweroff -f"),
        pit=True,
        cmdline="no-kvmclock lapic=notscdeadline",
    )
    assert result.reason == "power-off", console
    assert "..TIMER: vector=0x30 apic1=0 pin1=0" in console
    assert "8254 timer not connected" not in console
    assert re.search(r"^ +0: +[1-9]\d* +IO-APIC +0-edge +timer$", console, re.MULTILINE)
