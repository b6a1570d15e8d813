"""A program's own devices in a machine: ports, MMIO, interrupts, and what nobody claims."""

import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from ringlet import ConfigError, Machine, MachineConfig, RingletError
from ringlet.board import layout
from ringlet.board.device import IrqLine
from ringlet.machine.device_error import DeviceError

from ..machine_code import (
    EXIT,
    HALT_WITH_INTERRUPTS,
    IN_AL_DX,
    IN_AX_DX,
    IN_EAX_DX,
    MOV_DX_PORT,
    OUT_DX_AL,
    OUT_DX_AX,
    OUT_DX_EAX,
    PORT,
    READ_AND_EXIT,
    READ_FOR_EVER,
    exit_with,
    machine,
    on_interrupt,
    protected,
    run,
)

pytestmark = [pytest.mark.needs_kvm, pytest.mark.usefixtures("no_leak")]

MMIO = 0xD000_0000
WRITE_42 = MOV_DX_PORT + b"\xb0\x2a" + OUT_DX_AL
MOV_EAX_12345678 = b"\x66\xb8\x78\x56\x34\x12"
READ_MMIO_AND_EXIT = b"\xa0\x10\x00\x00\xd0" + EXIT  # mov al, [MMIO + 0x10]


class Recorder:
    """A device that keeps what it is asked, and answers 1, 2, 3 and so on."""

    def __init__(self) -> None:
        self.reads: list[tuple[int, int]] = []
        self.writes: list[tuple[int, int, int]] = []

    def read(self, offset: int, size: int) -> int:
        self.reads.append((offset, size))
        return len(self.reads)

    def write(self, offset: int, size: int, value: int) -> None:
        self.writes.append((offset, size, value))


class Broken:
    """A device with a bug."""

    def read(self, offset: int, size: int) -> int:
        raise LookupError("a bug in read")

    def write(self, offset: int, size: int, value: int) -> None:
        raise LookupError("a bug in write")


class Bell:
    """A device that pulls its interrupt line when it is written to."""

    def __init__(self, irq: IrqLine) -> None:
        self._irq = irq

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        self._irq.set(True)
        self._irq.set(False)


def with_port_device(code: bytes, device: Recorder | Broken, first: int = PORT) -> int:
    """The status of `code` on a machine with `device` at 16 ports."""
    with machine(code) as made:
        made.add_port_device(first, 16, device)
        return made.run().status


def test_a_device_answers_the_reads_of_its_ports() -> None:
    device = Recorder()
    assert with_port_device(MOV_DX_PORT + IN_AL_DX + IN_AL_DX + EXIT, device) == 2
    assert device.reads == [(0, 1), (0, 1)]


def test_offsets_count_from_the_devices_first_port() -> None:
    device = Recorder()
    with_port_device(READ_AND_EXIT, device, first=PORT - 5)
    assert device.reads == [(5, 1)]


@pytest.mark.parametrize(
    ("out", "size", "value"),
    [(OUT_DX_AL, 1, 0x78), (OUT_DX_AX, 2, 0x5678), (OUT_DX_EAX, 4, 0x12345678)],
)
def test_a_device_sees_writes_of_each_size(out: bytes, size: int, value: int) -> None:
    device = Recorder()
    with_port_device(MOV_EAX_12345678 + MOV_DX_PORT + out + exit_with(0), device)
    assert device.writes == [(0, size, value)]


def test_a_value_wider_than_the_access_is_cut() -> None:
    class Wide(Recorder):
        def read(self, offset: int, size: int) -> int:
            return 0x1_0000_002A

    assert with_port_device(READ_AND_EXIT, Wide()) == 0x2A


@pytest.mark.parametrize("address", [MMIO, MMIO + 8])
def test_a_device_answers_the_reads_of_its_addresses(address: int) -> None:
    device = Recorder()
    with machine(protected(READ_MMIO_AND_EXIT), protocol=None) as made:
        made.add_mmio_device(address, 0x100, device)
        assert made.run().status == 1
    assert device.reads == [(MMIO + 0x10 - address, 1)]


def test_a_device_sees_mmio_writes_of_each_size() -> None:
    device = Recorder()
    code = (
        b"\xb8\x78\x56\x34\x12"  # mov eax, 0x12345678
        b"\xa2\x00\x00\x00\xd0"  # mov [MMIO], al
        b"\x66\xa3\x02\x00\x00\xd0"  # mov [MMIO + 2], ax
        b"\xa3\x04\x00\x00\xd0"  # mov [MMIO + 4], eax
    )
    with machine(protected(code + exit_with(0)), protocol=None) as made:
        made.add_mmio_device(MMIO, 8, device)
        made.run()
    assert device.writes == [(0, 1, 0x78), (2, 2, 0x5678), (4, 4, 0x12345678)]


def test_a_device_raises_an_interrupt_from_its_vcpus_thread() -> None:
    code = on_interrupt(5, exit_with(42)) + MOV_DX_PORT + OUT_DX_AL + HALT_WITH_INTERRUPTS
    with machine(code) as made:
        made.add_port_device(PORT, 1, Bell(made.irq_line(5)))
        assert made.run().status == 42


def test_another_thread_raises_an_interrupt_that_wakes_a_halted_guest() -> None:
    class Ready(Recorder):
        def write(self, offset: int, size: int, value: int) -> None:
            threading.Timer(0.2, Bell(irq).write, (0, 1, 0)).start()

    code = on_interrupt(5, exit_with(42)) + MOV_DX_PORT + OUT_DX_AL + HALT_WITH_INTERRUPTS
    with machine(code) as made:
        irq = made.irq_line(5)
        made.add_port_device(PORT, 1, Ready())
        result = made.run()
    assert result.status == 42
    assert result.exits["port"] == 2


def test_a_line_that_is_not_raised_does_not_interrupt() -> None:
    code = on_interrupt(5, exit_with(42)) + HALT_WITH_INTERRUPTS
    assert run(code, timeout=0.3).reason == "timeout"


# What a device raises.


@pytest.mark.parametrize(
    ("code", "access", "bug"),
    [
        (READ_AND_EXIT, "a read of 1 byte from port 0x700", "a bug in read"),
        (
            MOV_DX_PORT + b"\xb0\x2a" + OUT_DX_AL,
            "a write of 1 byte (0x2a) to port 0x700",
            "a bug in write",
        ),
    ],
    ids=["read", "write"],
)
def test_what_a_device_raises_comes_out_of_run_with_the_access(
    code: bytes, access: str, bug: str
) -> None:
    with pytest.raises(DeviceError) as error:
        with_port_device(code, Broken())
    assert error.value.message == (
        f"the device Broken failed at {access}, Broken at offset 0x0: LookupError: {bug}"
    )
    assert isinstance(error.value.__cause__, LookupError)
    assert error.value.__cause__.__traceback__ is not None
    assert (error.value.device, error.value.access.address) == ("Broken", PORT)


def test_what_a_device_raises_comes_out_of_wait_and_of_stop() -> None:
    with machine(READ_AND_EXIT) as made:
        made.add_port_device(PORT, 1, Broken())
        made.start()
        for wait in (made.wait, made.wait, made.stop):
            with pytest.raises(DeviceError, match="a bug in read"):
                wait(30)


def test_what_an_mmio_device_raises_comes_out_of_run_with_the_access() -> None:
    with machine(protected(READ_MMIO_AND_EXIT), protocol=None) as made:
        made.add_mmio_device(MMIO, 0x100, Broken())
        with pytest.raises(DeviceError, match="a bug in read") as error:
            made.run()
    access = error.value.access
    assert (access.is_port, access.is_write, access.offset) == (False, False, access.address - MMIO)


def test_a_string_access_that_fails_is_told_too() -> None:
    # mov cx, 3; mov si, 0x7c00; rep outsb
    code = MOV_DX_PORT + b"\xb9\x03\x00\xbe\x00\x7c\xf3\x6e"
    with pytest.raises(DeviceError, match=r"a write of .*1 byte.* to port 0x700, Broken"):
        with_port_device(code, Broken())


class Answers(Recorder):
    """A device whose reads return one value after another."""

    def __init__(self, *values: Any) -> None:
        super().__init__()
        self.values = list(values)

    def read(self, offset: int, size: int) -> Any:
        return self.values.pop(0)


# The first read of a port takes another way through the loop than the next ones.
@pytest.mark.parametrize("first", [[], [1], [1, 2]])
@pytest.mark.parametrize(
    ("value", "what"),
    [
        (None, "read returned None"),
        ("1", "read returned a str, not an int"),
        (1.5, "read returned a float, not an int"),
        (b"1", "read returned a bytes, not an int"),
        (-1, "read returned -0x1, which no register can hold"),
        (1 << 64, "read returned 0x10000000000000000, which no register can hold"),
    ],
)
def test_a_read_that_returns_no_number_is_told(first: list[int], value: Any, what: str) -> None:
    with pytest.raises(DeviceError) as error:
        with_port_device(READ_FOR_EVER, Answers(*first, value))
    assert error.value.message.endswith(f"Answers at offset 0x0: {what}")
    assert "a read of 1 byte from port 0x700" in error.value.message


def test_an_mmio_read_that_returns_no_number_is_told() -> None:
    with machine(protected(READ_MMIO_AND_EXIT), protocol=None) as made:
        made.add_mmio_device(MMIO, 0x100, Answers(None))
        with pytest.raises(DeviceError, match="read returned None"):
            made.run()


def test_what_counts_as_a_number_is_taken() -> None:
    class Seven:
        def __index__(self) -> int:
            return 7

        __int__ = __index__

    for value in (True, Seven()):
        assert with_port_device(READ_AND_EXIT, Answers(value)) == int(value)


# Where a device may stand.


@pytest.mark.parametrize(
    ("first", "count"),
    [
        (layout.COM1_PORT, 1),
        (layout.COM1_PORT - 1, 2),
        (layout.COM1_PORT + 7, 4),
        (layout.EXIT_PORT, 1),
        (layout.KEYBOARD_CONTROLLER_PORT, 1),
        (layout.EXIT_PORT - 8, 16),
        (0x20, 1),  # KVM's own interrupt controller
        (PORT, 1),
        (0, 1 << 16),
    ],
)
def test_overlapping_ports_are_refused(first: int, count: int) -> None:
    with machine(exit_with(0)) as made:
        made.add_port_device(PORT, 4, Recorder())
        with pytest.raises(ConfigError, match="another device is there"):
            made.add_port_device(first, count, Recorder())
        assert made.run().status == 0


@pytest.mark.parametrize(("first", "count"), [(-1, 2), (0xFFFF, 2), (PORT, 0), (1 << 16, 1)])
def test_ports_that_do_not_exist_are_refused(first: int, count: int) -> None:
    with machine(exit_with(0)) as made, pytest.raises(ConfigError):
        made.add_port_device(first, count, Recorder())


@pytest.mark.parametrize(
    ("address", "size"),
    [(MMIO, 1), (MMIO - 1, 2), (MMIO + 0xFF, 2), (MMIO - 0x1000, 0x10000), (0xFEE0_0020, 4)],
)
def test_overlapping_addresses_are_refused(address: int, size: int) -> None:
    with machine(exit_with(0)) as made:
        made.add_mmio_device(MMIO, 0x100, Recorder())
        with pytest.raises(ConfigError, match="another device is there"):
            made.add_mmio_device(address, size, Recorder())


@pytest.mark.parametrize("address", [0, 0xB8000, (64 << 20) - 1])
def test_a_device_in_ram_is_refused(address: int) -> None:
    with machine(exit_with(0)) as made, pytest.raises(ConfigError, match="in the guest's RAM"):
        made.add_mmio_device(address, 0x1000, Recorder())


def test_a_traceback_says_what_to_do() -> None:
    with machine(exit_with(0)) as made:
        for add in (
            lambda: made.add_port_device(layout.COM1_PORT, 1, Recorder()),
            lambda: made.add_mmio_device(0, 1, Recorder()),
            lambda: made.irq_line(24),
        ):
            with pytest.raises(ConfigError) as caught:
                add()
            last = traceback.format_exception(caught.value)[-1]
            assert last.strip() == f"hint: {caught.value.hint}"


# What nobody claims.


@pytest.mark.parametrize("read", [IN_AL_DX, IN_AX_DX, IN_EAX_DX])
def test_a_port_that_nobody_claims_reads_as_all_ones(read: bytes) -> None:
    assert run(MOV_DX_PORT + read + EXIT).status == 0xFF


def test_an_address_that_nobody_claims_reads_as_all_ones() -> None:
    assert run(protected(READ_MMIO_AND_EXIT), protocol=None).status == 0xFF


def test_accesses_that_nobody_claims_are_counted_and_logged() -> None:
    lines: list[str] = []
    code = (
        b"\xb8\x34\x12\x00\x00"  # mov eax, 0x1234
        + b"\x66\xba\x00\x05" + OUT_DX_EAX[1:] + OUT_DX_AL + IN_AL_DX  # mov dx, PORT
        + b"\xa3\x00\x00\x00\xd0"  # mov [MMIO], eax
        + READ_MMIO_AND_EXIT
    )  # fmt: skip
    with machine(protected(code), protocol=None) as made:
        made.unclaimed.log = lines.append
        result = made.run()
    assert result.unclaimed == {"reads": 2, "writes": 3}
    assert lines == [
        "write of 4 at unclaimed port 0x500: 0x1234",
        "write of 1 at unclaimed port 0x500: 0x34",
        "read of 1 at unclaimed port 0x500",
        "write of 4 at unclaimed address 0xd0000000: 0x12ff",
        "read of 1 at unclaimed address 0xd0000010",
    ]


def test_an_access_that_a_device_claims_in_part_is_split_into_bytes() -> None:
    device = Recorder()
    with machine(MOV_EAX_12345678 + MOV_DX_PORT + OUT_DX_EAX + IN_EAX_DX + EXIT) as made:
        made.add_port_device(PORT + 1, 2, device)
        result = made.run()
    assert device.writes == [(0, 1, 0x56), (1, 1, 0x34)]
    assert device.reads == [(0, 1), (1, 1)]
    assert result.status == 0xFF
    assert result.unclaimed == {"reads": 2, "writes": 2}


# More than a machine code of a few bytes: the UART's interrupts.


def test_a_guest_hears_the_uarts_interrupts_and_a_devices_at_once() -> None:
    device = Recorder()
    with Machine(MachineConfig(image="echo", timeout=60)) as made:
        made.add_port_device(PORT, 1, device)
        made.start()
        made.serial.read_until(b"ends.\n")
        for _ in range(20):
            made.irq_line(5).set(True)
            made.irq_line(5).set(False)
            made.serial.write(b"a")
            assert made.serial.read() == b"a"
        made.serial.write(b"\x04")
        result = made.wait(60)
    assert result is not None
    assert result.status == 0


def test_a_device_can_end_the_run() -> None:
    class Switch(Recorder):
        def read(self, offset: int, size: int) -> int:
            made.kill()
            return 0

    with machine(READ_FOR_EVER) as made:
        made.add_port_device(PORT, 1, Switch())
        assert made.run().reason == "killed"


class Waiter:
    """A device that tries to wait for the end of the run that it is a part of."""

    def __init__(self, ask: Callable[[], object]) -> None:
        self._ask = ask

    def read(self, offset: int, size: int) -> int:
        self._ask()
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        self._ask()


@pytest.mark.parametrize("method", ["stop", "wait", "close"])
@pytest.mark.parametrize("background", [False, True])
def test_a_device_that_waits_for_its_own_run_is_told_so(method: str, background: bool) -> None:
    with machine(READ_AND_EXIT) as vm:
        vm.add_port_device(PORT, 1, Waiter(getattr(vm, method)))
        if background:
            vm.start()
        with pytest.raises(RingletError, match="can't wait for itself"):
            vm.wait(60) if background else vm.run()
