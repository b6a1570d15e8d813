"""The ACPI tables, which tell a kernel of the processors and the devices.

Source: ACPI 6.5, 5.2 (tables) and 4.8 (fixed hardware). The machine has ACPI's fixed hardware
(PM1a event and control registers, the power button, the SCI), always in ACPI mode, and a PC's
devices. The machine has no PM timer, no HPET and no PCI.
"""

from __future__ import annotations

from functools import cache
from struct import Struct

from ringlet.board import aml
from ringlet.board.layout import (
    ACPI_SIZE,
    CMOS_PORT,
    CMOS_PORTS,
    HIGH_MEMORY,
    KEYBOARD_CONTROLLER_PORT,
    PM1_CONTROL_PORT,
    PM1_CONTROL_PORTS,
    PM1_EVENT_PORT,
    PM1_EVENT_PORTS,
    PVPANIC_PORT,
    RSDP,
    RTC_IRQ,
    SCI_IRQ,
)
from ringlet.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NamedTuple

    from ringlet.kvm.memory import GuestMemory
else:
    from ringlet.host.named_tuple import NamedTuple

SLEEP_TYPE_S5 = 5  # a guest writes this to SLP_TYP to power off; each platform chooses the value

IO_APIC = 0xFEC0_0000
LOCAL_APIC = 0xFEE0_0000
MAX_XAPIC_ID = 254  # 255 is the broadcast ID; processors with higher IDs have x2APIC entries

# Signature, length, revision, checksum, OEM ID, OEM table ID and revision, creator and revision.
_HEADER = Struct("<4sIBB6s8sI4sI")
_CHECKSUM = 9
_RSDP = Struct("<8sB6sBIIQB3x")
_FACS = Struct("<4sII4xII8xB31x")
_GENERIC_ADDRESS = Struct("<BBBBQ")

# FADT, from FIRMWARE_CTRL on (5.2.9, table 5.9).
_FADT = Struct(
    "<IIBBHIBBBB"  # FIRMWARE_CTRL to PSTATE_CNT
    "IIIIIIII"  # PM1a_EVT_BLK to GPE1_BLK
    "BBBBBBBB"  # PM1_EVT_LEN to CST_CNT
    "HHHHBBBBB"  # P_LVL2_LAT to CENTURY
    "HBI"  # IAPC_BOOT_ARCH to flags
    "12sBHB"  # RESET_REG, RESET_VALUE, ARM_BOOT_ARCH, minor version
    "QQ12s12s12s12s12s12s12s12s12s12s8s"  # X_FIRMWARE_CTRL to the hypervisor's vendor
)
# The flag for an 8042 is clear, so that a kernel doesn't look for a keyboard.
_BOOT_LEGACY_DEVICES, _BOOT_NO_VGA = 1 << 0, 1 << 2
# The flag for the power button, 1 << 4, is clear, so the button is fixed hardware. The machine has
# no sleep button.
_WBINVD, _PROC_C1, _NO_SLEEP_BUTTON, _NO_RTC_WAKE = 1, 4, 1 << 5, 1 << 6
_RESET_REG_SUP, _HEADLESS = 1 << 10, 1 << 12
_SYSTEM_IO = 1
_CENTURY = 0x32  # the CMOS register
_PULSE_RESET = 0xFE  # the keyboard controller's reset command
_NO_C_STATE = 0xFFFF  # a latency that is too long for any system to use the C state

# MADT structures (5.2.12), each with its type and length.
_XAPIC = Struct("<BBBBI")
_X2APIC = Struct("<BBHIII")
_IO_APIC = Struct("<BBBBII")
_OVERRIDE = Struct("<BBBBIH")
_XAPIC_NMI = Struct("<BBBHB")
_X2APIC_NMI = Struct("<BBHIB3x")
_ENABLED = 1
_PCAT_COMPAT = 1  # the machine has a PIC, too
_LEVEL_HIGH = 0xD


class AcpiDevice(NamedTuple):
    """A device of the system bus: its name (four characters), its _HID and _UID, its resources.

    `ports` and `mmio` are (first, count); `mmio` is below 4 GiB. `irq` is edge-triggered.
    """

    name: str
    hid: str
    uid: int = 0
    ports: tuple[int, int] | None = None
    irq: int | None = None
    mmio: tuple[int, int] | None = None


RTC = AcpiDevice("RTC0", "PNP0B00", ports=(CMOS_PORT, CMOS_PORTS), irq=RTC_IRQ)
PVPANIC = AcpiDevice("PEVT", "QEMU0001", ports=(PVPANIC_PORT, 1))


def write_tables(memory: GuestMemory, *, cpus: int, devices: Sequence[AcpiDevice]) -> None:
    """Writes RSDP, XSDT, FADT, FACS, MADT and DSDT from `layout.RSDP` on.

    Processor n has the APIC ID n. Does nothing if RAM ends below 1 MiB. Raises `ConfigError` if
    the tables don't fit.
    """
    if memory.regions[0].size >= HIGH_MEMORY:
        memory.write(RSDP, tables(cpus, tuple(devices)))


@cache
def tables(cpus: int, devices: tuple[AcpiDevice, ...]) -> bytes:
    """Returns all tables, as they lie in guest memory from `layout.RSDP` on."""
    image = bytearray(64)  # room for the RSDP, which needs the address of the XSDT

    def add(table: bytes) -> int:
        address = RSDP + len(image)
        image.extend(table + bytes(-len(table) % 64))
        return address

    facs = add(_FACS.pack(b"FACS", _FACS.size, 0, 0, 0, 2))
    dsdt = add(_table(b"DSDT", 2, _dsdt(cpus, devices)))
    fadt = add(_table(b"FACP", 6, _fadt(facs, dsdt)))
    madt = add(_table(b"APIC", 5, _madt(cpus)))
    xsdt = add(_table(b"XSDT", 1, b"".join(at.to_bytes(8, "little") for at in (fadt, madt))))
    if len(image) > ACPI_SIZE:
        raise ConfigError(
            f"the ACPI tables take {len(image)} bytes, {ACPI_SIZE} fit",
            "give the guest fewer processors or devices",
        )
    rsdp = bytearray(_RSDP.pack(b"RSD PTR ", 0, b"RINGLT", 2, 0, _RSDP.size, xsdt, 0))
    rsdp[8] = -sum(rsdp[:20]) & 0xFF  # the checksum of the part that ACPI 1.0 defines
    rsdp[32] = -sum(rsdp) & 0xFF
    image[: len(rsdp)] = rsdp
    return bytes(image)


def _table(signature: bytes, revision: int, body: bytes) -> bytes:
    size = _HEADER.size + len(body)
    header = (signature, size, revision, 0, b"RINGLT", b"RINGLET ", 1, b"RNGL", 1)
    table = bytearray(_HEADER.pack(*header) + body)
    table[_CHECKSUM] = -sum(table) & 0xFF
    return bytes(table)


def _port(first: int, count: int) -> bytes:
    """Returns the generic address structure (5.2.3.2) of a register at a port."""
    return _GENERIC_ADDRESS.pack(_SYSTEM_IO, 8 * count, 0, min(count, 2), first)


def _fadt(facs: int, dsdt: int) -> bytes:
    none = bytes(_GENERIC_ADDRESS.size)
    flags = _WBINVD | _PROC_C1 | _NO_SLEEP_BUTTON | _NO_RTC_WAKE | _RESET_REG_SUP | _HEADLESS
    return _FADT.pack(
        *(facs, dsdt, 0, 0, SCI_IRQ, 0, 0, 0, 0, 0),  # no SMI command: always in ACPI mode
        *(PM1_EVENT_PORT, 0, PM1_CONTROL_PORT, 0, 0, 0, 0, 0),
        *(PM1_EVENT_PORTS, PM1_CONTROL_PORTS, 0, 0, 0, 0, 0, 0),
        *(_NO_C_STATE, _NO_C_STATE, 0, 0, 0, 0, 0, 0, _CENTURY),
        *(_BOOT_LEGACY_DEVICES | _BOOT_NO_VGA, 0, flags),
        *(_port(KEYBOARD_CONTROLLER_PORT, 1), _PULSE_RESET, 0, 5),
        *(0, dsdt),
        *(_port(PM1_EVENT_PORT, PM1_EVENT_PORTS), none),
        *(_port(PM1_CONTROL_PORT, PM1_CONTROL_PORTS), none),
        *([none] * 6),
        b"",
    )


def _madt(cpus: int) -> bytes:
    body = Struct("<II").pack(LOCAL_APIC, _PCAT_COMPAT)
    for n in range(cpus):
        if n <= MAX_XAPIC_ID:
            body += _XAPIC.pack(0, _XAPIC.size, n, n, _ENABLED)
        else:
            body += _X2APIC.pack(9, _X2APIC.size, 0, n, _ENABLED, n)
    body += _IO_APIC.pack(1, _IO_APIC.size, 0, 0, IO_APIC, 0)
    # KVM connects each of the 16 ISA lines to the I/O APIC's input of the same number, also the
    # timer's line. Only the SCI differs from an ISA line: it is level-triggered.
    body += _OVERRIDE.pack(2, _OVERRIDE.size, 0, SCI_IRQ, SCI_IRQ, _LEVEL_HIGH)
    # The NMI arrives at LINT1 of every processor.
    body += _XAPIC_NMI.pack(4, _XAPIC_NMI.size, 0xFF, 0, 1)
    if cpus > MAX_XAPIC_ID + 1:
        body += _X2APIC_NMI.pack(0xA, _X2APIC_NMI.size, 0, 0xFFFF_FFFF, 1)
    return body


def _dsdt(cpus: int, devices: Sequence[AcpiDevice]) -> bytes:
    # SLP_TYP for the PM1a control register, then for PM1b; two reserved elements follow (7.4.2).
    s5 = aml.package(*map(aml.integer, (SLEEP_TYPE_S5, 0, 0, 0)))
    processors = (_device(AcpiDevice(f"C{n:03X}", "ACPI0007", n)) for n in range(cpus))
    return aml.named("\\_S5", s5) + aml.scope("\\_SB", *processors, *map(_device, devices))


def _device(device: AcpiDevice) -> bytes:
    terms = [
        aml.named("_HID", aml.hardware_id(device.hid)),
        aml.named("_UID", aml.integer(device.uid)),
    ]
    decodes = []
    if device.ports is not None:
        decodes.append(aml.io(*device.ports))
    if device.mmio is not None:
        decodes.append(aml.memory32(*device.mmio))
    if device.irq is not None:
        decodes.append((aml.irq if device.irq < 16 else aml.interrupt)(device.irq))
    if decodes:
        terms.append(aml.named("_CRS", aml.resources(*decodes)))
    return aml.device(device.name, *terms)
