"""The names of registers: from each device's specification, or the offset."""

from collections.abc import Callable
from typing import Any

import pytest

from ringlet.board.device import Device, register_name
from ringlet.devices.acpi_pm import Pm1Control, Pm1Event
from ringlet.devices.cmos import Cmos
from ringlet.devices.cursor import Cursor
from ringlet.devices.exit_port import ExitPort
from ringlet.devices.keyboard_controller import KeyboardController
from ringlet.devices.pvpanic import Pvpanic
from ringlet.devices.reset_control import ResetControl
from ringlet.devices.system_control import SystemControl
from ringlet.devices.uart16550 import LCR, LCR_DLAB, Uart16550
from ringlet.virtio import mmio
from ringlet.virtio.mmio import VirtioMmio


class Line:
    def set(self, level: bool) -> None:
        pass


def nothing(*_: object) -> None:
    pass


def names(device: Device, offsets: range, *, write: bool) -> list[str]:
    return [register_name(device, offset, write) for offset in offsets]


def test_a_device_that_names_no_register_has_offsets() -> None:
    class Plain:
        read: Callable[..., Any] = nothing
        write: Callable[..., Any] = nothing

    assert names(Plain(), range(0, 0x14, 4), write=True) == [
        "+0x0",
        "+0x4",
        "+0x8",
        "+0xc",
        "+0x10",
    ]


def test_the_uart_has_other_names_for_reads_for_writes_and_with_dlab() -> None:
    uart = Uart16550(Line(), nothing)
    rest = ["LCR", "MCR", "LSR", "MSR", "SCR"]
    assert names(uart, range(8), write=False) == ["RBR", "IER", "IIR", *rest]
    assert names(uart, range(8), write=True) == ["THR", "IER", "FCR", *rest]
    uart.write(LCR, 1, LCR_DLAB)
    assert names(uart, range(8), write=False) == ["DLL", "DLM", "IIR", *rest]
    assert names(uart, range(8), write=True) == ["DLL", "DLM", "FCR", *rest]


@pytest.mark.parametrize("device", [Cmos(1 << 20), Cursor()])
def test_a_data_port_says_which_register_is_selected(device: Device) -> None:
    device.write(0, 1, 0x0E)
    assert names(device, range(2), write=False) == ["INDEX", "DATA[0x0e]"]


@pytest.mark.parametrize(
    ("device", "write", "expected"),
    [
        (ExitPort(nothing), True, ["STATUS"]),
        (KeyboardController(nothing), False, ["STATUS"]),
        (KeyboardController(nothing), True, ["COMMAND"]),
        (KeyboardController(nothing).data, True, ["DATA"]),
        (Pvpanic(nothing), True, ["EVENTS"]),
        (SystemControl(nothing), True, ["PORT_A"]),
        (ResetControl(nothing), True, ["+0x0", "RST_CNT", "+0x2", "+0x3"]),
        (Pm1Event(Line()), True, ["PM1_STS", "PM1_STS+1", "PM1_EN", "PM1_EN+1"]),
        (Pm1Control(nothing), False, ["PM1_CNT", "PM1_CNT+1"]),
    ],
)
def test_the_small_devices(device: Device, write: bool, expected: list[str]) -> None:
    assert names(device, range(len(expected)), write=write) == expected


def test_each_register_of_virtio_has_the_name_that_belongs_to_its_constant() -> None:
    constants = {
        name: value
        for name, value in vars(mmio).items()
        if name.isupper() and isinstance(value, int) and value <= mmio.CONFIG_GENERATION
    }
    transport = VirtioMmio.__new__(VirtioMmio)  # the names depend on nothing that changes
    registers = (
        "MAGIC_VALUE VERSION DEVICE_ID VENDOR_ID DEVICE_FEATURES DEVICE_FEATURES_SEL "
        "DRIVER_FEATURES DRIVER_FEATURES_SEL QUEUE_SEL QUEUE_SIZE_MAX QUEUE_SIZE QUEUE_READY "
        "QUEUE_NOTIFY INTERRUPT_STATUS INTERRUPT_ACK STATUS QUEUE_DESC QUEUE_DRIVER QUEUE_DEVICE "
        "SHM_LEN SHM_BASE CONFIG_GENERATION"
    )
    for constant in registers.split():
        name = transport.register_name(constants[constant], False)
        assert name.removesuffix("Low").lower() == constant.replace("_", "").lower()
    assert transport.register_name(mmio.QUEUE_DESC + 4, True) == "QueueDescHigh"
    assert transport.register_name(mmio.CONFIG + 8, False) == "Config+0x8"
    assert transport.register_name(0x54, False) == "+0x54"
