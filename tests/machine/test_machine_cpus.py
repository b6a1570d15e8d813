"""A machine with several vCPUs: the first starts the others, and the run ends as a whole."""

import pytest

from ringlet import ConfigError, Machine, MachineConfig
from ringlet.machine.device_error import DeviceError

from ..machine_code import HALT, SPIN, exit_with, machine

pytestmark = [pytest.mark.needs_kvm, pytest.mark.usefixtures("no_leak")]

LOAD = 0x7C00
SECOND = 0x8000  # where the second vCPU starts: a SIPI's vector is a page
WRMSR = b"\x0f\x30"


def mov_ecx(value: int) -> bytes:
    return b"\x66\xb9" + value.to_bytes(4, "little")


def mov_edx(value: int) -> bytes:
    return b"\x66\xba" + value.to_bytes(4, "little")


def mov_eax(value: int) -> bytes:
    return b"\x66\xb8" + value.to_bytes(4, "little")


# x2APIC (Intel SDM volume 3, 11.12): real mode reaches its registers, which are MSRs.
X2APIC_ON = mov_ecx(0x1B) + b"\x0f\x32" + b"\x66\x0d" + (0xC00).to_bytes(4, "little") + WRMSR
INIT, STARTUP = 0x4500, 0x4600


def starting(first: bytes, second: bytes) -> bytes:
    """Code of which the first vCPU starts the second, and goes on."""
    code = X2APIC_ON + mov_ecx(0x830) + mov_edx(1)
    code += mov_eax(INIT) + WRMSR + mov_eax(STARTUP | SECOND >> 12) + WRMSR + first
    return code.ljust(SECOND - LOAD, b"\x90") + second


def test_the_first_starts_the_second_whose_status_is_the_runs() -> None:
    with machine(starting(HALT, exit_with(7)), cpus=2, timeout=60) as made:
        result = made.run()
    assert (result.reason, result.status) == ("exit-port", 7)


def test_vcpus_that_nobody_starts_do_not_keep_a_run_alive() -> None:
    with machine(HALT, cpus=4, timeout=60) as made:
        assert made.run().reason == "halt"


def test_a_run_goes_on_until_the_last_has_halted() -> None:
    with machine(starting(HALT, SPIN), cpus=2, timeout=0.5) as made:
        assert made.run().reason == "timeout"
    with machine(starting(HALT, HALT), cpus=2, timeout=60) as made:
        assert made.run().reason == "halt"


def test_a_run_in_the_background_can_be_stopped_whatever_its_vcpus_do() -> None:
    with machine(starting(SPIN, SPIN), cpus=3) as made:
        made.start()
        result = made.stop(20)
    assert result.reason == "stopped"


def test_a_device_that_fails_on_the_second_ends_the_run() -> None:
    class Failing:
        def read(self, offset: int, size: int) -> int:
            raise RuntimeError("out of order")

        def write(self, offset: int, size: int, value: int) -> None:
            raise RuntimeError("out of order")

    out_0x50 = b"\xe6\x50"
    with machine(starting(HALT, out_0x50), cpus=2, timeout=60) as made:
        made.add_port_device(0x50, 1, Failing())
        with pytest.raises(DeviceError, match="out of order"):
            made.run()


def test_exits_of_all_vcpus_are_counted_together() -> None:
    out_0x50 = b"\xe6\x50"
    with machine(starting(out_0x50 + HALT, out_0x50 + exit_with(0)), cpus=2, timeout=60) as made:
        result = made.run()
    assert result.reason == "exit-port"
    assert 2 <= result.exits["port"] <= 3


def test_more_vcpus_than_kvm_can_do_are_refused() -> None:
    with pytest.raises(ConfigError, match="1000000 vCPUs are too many"):
        Machine(MachineConfig(image="hello", cpus=1_000_000))
