"""Exits and changes in words, of real guests."""

from pathlib import Path

import pytest

from ringlet.kvm.registers import Registers
from ringlet.observe.console.stop_words import changes
from ringlet.observe.debug.state import State

from ...machine_code import exit_with, protected
from ..conversation import talk
from .test_interrupt_return import SPECIAL


@pytest.mark.needs_kvm
@pytest.mark.parametrize(
    ("code", "words"),
    [
        # mov dx, port; in al, dx; or out dx, eax
        (b"\x66\xba\xfd\x03\xec", "reads 0x60 from port 0x3fd, com1 LSR"),
        (b"\x66\xba\x00\x07\xec", "reads 0xff from port 0x700, which no device claims"),
        (b"\x66\xba\x00\x07\xef", "writes 0x00000000 to port 0x700, which no device claims"),
        (b"\x66\xba\xf8\x03\xb0\x41\xee", "writes 0x41 'A' to port 0x3f8, com1 THR"),
        # mov eax, [0xd0000000]; mov [0xd0000000], al
        (
            b"\xa1\0\0\0\xd0",
            "reads 0xffffffff from address 0xd0000000, where no device and no RAM is",
        ),
        (b"\xa2\0\0\0\xd0", "writes 0x00 to address 0xd0000000, where no device and no RAM is"),
    ],
)
def test_an_exit_names_the_device_and_its_register(code: bytes, words: str) -> None:
    with talk(protected(code + exit_with(0))) as say:
        assert say("exit")[0] == f"VM exit: the guest {words}"
        assert say("exit")[-1] == "the run is over: exit-port, status 0"


@pytest.mark.needs_kvm
def test_the_registers_of_a_virtio_device_have_names(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    with talk("blk", disks=(str(disk),)) as say:
        seen = [say("exit")[0] for _ in range(12)]
    assert any("virtio" in line and "MagicValue" in line for line in seen), seen


def test_what_has_changed_is_told_and_nothing_else() -> None:
    before = State(0, Registers(rax=1, rip=5, rflags=2), SPECIAL)
    assert changes(before, before) == []
    after = State(
        0,
        Registers(rax=2, rip=6, rflags=0x46),
        SPECIAL._replace(cr0=SPECIAL.cr0 | 1 << 16, cr4=0, cr2=0x1000),
    )
    assert changes(before, after) == [
        "rax 0x1 -> 0x2",
        "rflags none -> PF ZF",
        "cr0 WP on",
        "cr2 0x0 -> 0x1000",
        "cr4 PAE off",
    ]
    ring_3 = SPECIAL._replace(cs=SPECIAL.cs._replace(selector=0x23))
    assert changes(before, State(0, before.registers, ring_3)) == ["cs 0x8 -> 0x23"]


@pytest.mark.parametrize(
    ("cr0", "efer", "cs", "mode"),
    [
        (0x10, 0, {"l": 0, "db": 0}, "16-bit real mode"),
        (0x11, 0, {"l": 0, "db": 0}, "16-bit protected mode without paging, ring 0"),
        (0x11, 0, {"l": 0, "db": 1}, "32-bit protected mode without paging, ring 0"),
        (0x80000011, 0, {"l": 0, "db": 1}, "32-bit protected mode, ring 0"),
        (0x80000011, 0x500, {"l": 0, "db": 1}, "32-bit compatibility mode, ring 0"),
        (0x80000011, 0x500, {"l": 1, "db": 0}, "64-bit mode, ring 0"),
    ],
)
def test_each_mode_has_a_name(cr0: int, efer: int, cs: dict[str, int], mode: str) -> None:
    special = SPECIAL._replace(cr0=cr0, efer=efer, cs=SPECIAL.cs._replace(**cs))
    assert State(0, Registers(), special).mode == mode
