"""The tables, read as a kernel reads them: from the RSDP on, nothing believed."""

import struct
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.board import layout
from ringlet.board.acpi import PVPANIC, RTC, SLEEP_TYPE_S5, AcpiDevice, tables, write_tables
from ringlet.errors import ConfigError
from ringlet.kvm.memory import GuestMemory, anonymous

from .aml_reader import eisa_id, read, resources

COM1 = AcpiDevice("COM1", "PNP0501", 1, (0x3F8, 8), 4)
DISK = AcpiDevice("VR00", "LNRO0005", 0, irq=16, mmio=(0xD0000000, 0x200))

NAMES = st.from_regex("[A-Z][A-Z0-9]{3}", fullmatch=True).filter(lambda n: n[0] != "C")
DEVICES = st.lists(
    st.builds(
        AcpiDevice,
        NAMES,
        st.sampled_from(["PNP0501", "LNRO0005", "QEMU0001"]),
        st.integers(0, 1 << 32),
        st.none() | st.tuples(st.integers(0, 0xFF00), st.integers(1, 255)),
        st.none() | st.integers(0, 23),
        st.none() | st.tuples(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF)),
    ),
    max_size=20,
    unique_by=lambda device: device.name,
)


class Tables(NamedTuple):
    """What a kernel finds."""

    fadt: bytes
    facs: bytes
    madt: list[bytes]
    dsdt: dict[str, Any]


def find(image: bytes) -> Tables:
    def table(address: int, signature: bytes) -> bytes:
        start = address - layout.RSDP
        assert 0 < start < len(image)
        size = int.from_bytes(image[start + 4 : start + 8], "little")
        found = image[start : start + size]
        assert len(found) == size
        assert found[:4] == signature
        assert signature == b"FACS" or sum(found) % 256 == 0
        return found

    assert image[:8] == b"RSD PTR "
    assert sum(image[:20]) % 256 == sum(image[:36]) % 256 == 0
    revision, _, size, xsdt_address = struct.unpack_from("<BIIQ", image, 15)
    assert (revision, size) == (2, 36)
    xsdt = table(xsdt_address, b"XSDT")
    fadt_address, madt_address = struct.unpack("<2Q", xsdt[36:])
    fadt, madt = table(fadt_address, b"FACP"), table(madt_address, b"APIC")
    facs, dsdt = struct.unpack_from("<2I", fadt, 36)
    assert facs % 64 == 0
    assert struct.unpack_from("<Q", fadt, 140) == (dsdt,)

    entries = []
    at = 44
    while at < len(madt):
        assert madt[at + 1] >= 2
        entries.append(madt[at : at + madt[at + 1]])
        at += madt[at + 1]
    assert at == len(madt)
    return Tables(fadt, table(facs, b"FACS"), entries, read(table(dsdt, b"DSDT")[36:]))


@given(st.integers(1, 300), DEVICES)
def test_a_kernel_finds_every_processor_and_device(cpus: int, devices: list[AcpiDevice]) -> None:
    found = find(tables(cpus, tuple(devices)))
    xapic = [(entry[2], entry[3], entry[4]) for entry in found.madt if entry[0] == 0]
    x2apic = [struct.unpack("<3I", entry[4:]) for entry in found.madt if entry[0] == 9]
    assert xapic == [(n, n, 1) for n in range(min(cpus, 255))]
    assert x2apic == [(n, 1, n) for n in range(255, cpus)]
    assert (10 in {entry[0] for entry in found.madt}) == (cpus > 255)

    bus = found.dsdt["\\_SB_"]
    processors = [device["_UID"] for device in bus.values() if device["_HID"] == "ACPI0007"]
    assert processors == list(range(cpus))
    for device in devices:
        terms = bus[device.name]
        hid = terms["_HID"]
        assert (eisa_id(hid) if isinstance(hid, int) else hid) == device.hid
        assert terms["_UID"] == device.uid
        decoded = dict(resources(terms["_CRS"])) if "_CRS" in terms else {}
        if device.ports is None:
            assert 0x40 not in decoded
        else:
            first, count = device.ports
            assert struct.unpack("<BHHBB", decoded[0x40]) == (1, first, first, 1, count)
        if device.mmio is None:
            assert 0x86 not in decoded
        else:
            assert struct.unpack("<BII", decoded[0x86]) == (1, *device.mmio)
        lines = [n for n in range(16) if 0x20 in decoded and decoded[0x20][n // 8] >> n % 8 & 1]
        if 0x89 in decoded:
            flags, count, line = struct.unpack("<BBI", decoded[0x89])
            assert (flags, count) == (3, 1)  # edge-triggered, active high, exclusive
            lines.append(line)
        assert lines == ([] if device.irq is None else [device.irq])


def test_fixed_hardware_is_where_the_layout_says() -> None:
    found = find(tables(1, ()))
    fadt = found.fadt
    assert len(fadt) == 276
    sci, smi = struct.unpack_from("<HI", fadt, 46)
    assert (sci, smi) == (layout.SCI_IRQ, 0)
    assert struct.unpack_from("<I", fadt, 56) == (layout.PM1_EVENT_PORT,)
    assert struct.unpack_from("<I", fadt, 64) == (layout.PM1_CONTROL_PORT,)
    assert (fadt[88], fadt[89]) == (layout.PM1_EVENT_PORTS, layout.PM1_CONTROL_PORTS)
    assert struct.unpack_from("<BB", fadt, 90) == (0, 0)  # no PM2 block, no PM timer
    # System I/O, 8 bits, byte access; and the value that resets.
    assert struct.unpack_from("<4BQB", fadt, 116) == (1, 8, 0, 1, 0x64, 0xFE)
    flags = int.from_bytes(fadt[112:116], "little")
    assert flags & 1 << 10, "the reset register counts"
    assert not flags & 1 << 20, "there is fixed hardware"
    assert not flags & 1 << 4, "the power button is a part of it"
    assert flags & 1 << 5, "a sleep button isn't"
    boot = int.from_bytes(fadt[109:111], "little")
    assert boot & 0b100011 == 1, "legacy devices, no 8042 to look for, a CMOS RTC"
    assert fadt[108] == 0x32, "the century"


def test_the_way_to_power_off_is_named() -> None:
    assert find(tables(1, ())).dsdt["\\_S5_"] == [SLEEP_TYPE_S5, 0, 0, 0]


def test_isa_lines_are_the_io_apics_inputs_and_the_sci_is_level_triggered() -> None:
    madt = find(tables(2, ())).madt
    (io_apic,) = (entry for entry in madt if entry[0] == 1)
    assert struct.unpack("<BBII", io_apic[2:]) == (0, 0, 0xFEC00000, 0)
    overrides = [struct.unpack("<BBIH", entry[2:]) for entry in madt if entry[0] == 2]
    assert overrides == [(0, 9, 9, 0xD)]
    (nmi,) = (entry for entry in madt if entry[0] == 4)
    assert struct.unpack("<BHB", nmi[2:]) == (0xFF, 0, 1)


def test_tables_are_written_where_the_start_info_says() -> None:
    with GuestMemory([anonymous(0, 2 * layout.MIB)]) as memory:
        write_tables(memory, cpus=1, devices=[COM1, RTC, PVPANIC, DISK])
        written = memory.read(layout.RSDP, layout.ACPI_SIZE)
        assert set(find(written).dsdt["\\_SB_"]) == {"C000", "COM1", "RTC0", "PEVT", "VR00"}
        assert not any(memory.read(0, layout.RSDP))
        assert not any(memory.read(layout.HIGH_MEMORY, layout.MIB))


def test_a_guest_without_the_place_for_them_has_none() -> None:
    with GuestMemory([anonymous(0, layout.HIGH_MEMORY - 4096)]) as memory:
        write_tables(memory, cpus=1, devices=[COM1])
        assert not any(memory.read(0, memory.size))


def test_too_much_for_the_place_is_refused() -> None:
    devices = tuple(DISK._replace(name=f"D{n:03X}") for n in range(3000))
    with pytest.raises(ConfigError, match="ACPI tables"):
        tables(1, devices)


def test_the_same_machine_again_is_not_built_again() -> None:
    assert tables(3, (COM1, RTC)) is tables(3, (COM1, RTC))
