"""Why a guest that waits for an interrupt gets none."""

import pytest

from ringlet.board.board import Placed
from ringlet.kvm.irqchip import IoApic, LocalApic, Pic, Redirection
from ringlet.machine.interrupts import _troubles, local_apic_trouble

MASKED = Redirection(0, True, False)
ROUTED = Redirection(0x24, False, False)
DEVICES = [
    Placed("com1", None, irq=4),
    Placed("rtc", None),
    Placed("virtio-blk", None, irq=16),
    Placed("pit", None, irq=0),
    Placed("disk", None, irq=10),
]


def troubles(
    requested: int, routed: int | None = None, masked: int = 0xFFFF, pic: int = 0
) -> list[str]:
    table = tuple(ROUTED if pin == routed else MASKED for pin in range(24))
    pics = Pic(pic & 0xFF, masked & 0xFF, 0, 0), Pic(pic >> 8, masked >> 8, 0, 0)
    return list(_troubles(IoApic(requested, table), pics, DEVICES))


def test_a_raised_line_that_both_controllers_mask_is_told() -> None:
    assert troubles(1 << 4) == ["com1 raised interrupt line 4, which the I/O APIC and the PIC mask"]
    assert troubles(0, pic=1 << 4) == troubles(1 << 4)


def test_a_line_of_the_io_apic_alone_is_told_without_the_pic() -> None:
    assert troubles(1 << 16, masked=0) == [
        "virtio-blk raised interrupt line 16, which the I/O APIC masks"
    ]


def test_the_pits_line_is_input_2_of_the_io_apic() -> None:
    assert troubles(1 << 2) == ["pit raised interrupt line 0, which the I/O APIC and the PIC mask"]


def test_a_second_pic_that_the_first_masks_is_masked() -> None:
    assert troubles(1 << 10, masked=1 << 2) == [
        "disk raised interrupt line 10, which the I/O APIC and the PIC mask"
    ]
    assert troubles(1 << 10, masked=0) == []


@pytest.mark.parametrize("pin", [2, 4, 16])
def test_a_line_that_leads_somewhere_and_has_a_device_is_fine(pin: int) -> None:
    assert troubles(1 << pin, routed=pin) == []


def test_a_line_that_leads_somewhere_and_has_no_device_is_told() -> None:
    assert troubles(0, routed=3) == [
        "the I/O APIC leads interrupt line 3 to vector 0x24, but no device has this line"
    ]


def test_a_local_apic_that_is_off_is_told() -> None:
    assert "its local APIC is off" in local_apic_trouble(LocalApic(False, 0, 1 << 0x21, None))
    assert local_apic_trouble(LocalApic(False, 0, 0, None)) == ""


def test_a_missing_eoi_is_told() -> None:
    said = local_apic_trouble(LocalApic(True, 1 << 0x21, 1 << 0x21, None))
    assert said == (
        "interrupt 0x21 waits for the end of interrupt 0x21: "
        "its handler has written no EOI to the local APIC"
    )
    assert local_apic_trouble(LocalApic(True, 1 << 0x21, 1 << 0x31, None)) == ""
    assert local_apic_trouble(LocalApic(True, 0, 1 << 0x21, None)) == ""
