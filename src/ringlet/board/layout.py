"""The guest's address map: every guest address that ringlet chooses, and nowhere else.

Guest-physical memory, not to scale:

    0x1_0000_0000 + ...  +---------------------------+
                         | RAM beyond 3 GiB          |
    0x1_0000_0000 (4 GiB)+---------------------------+
                         | local APIC   0xfee0_0000  |
                         | I/O APIC     0xfec0_0000  |
                         | KVM's own    0xfffb_c000  |  identity map and TSS (kvm-intel)
                         | virtio       0xd000_0000  |  a page for each device
    0xc000_0000 (3 GiB)  +---------------------------+  <- the MMIO hole starts
                         | RAM                       |
                         |   modules, at the end of  |
                         |   what lies below 3 GiB   |
                         |   ...                     |
                         |   kernel, by its ELF      |
    0x0010_0000 (1 MiB)  +---------------------------+
                         | ACPI tables, MP table     |  not for a flat image
    0x000e_0000          +---------------------------+
                         | reserved (firmware, VGA)  |
    0x0009_fc00          +---------------------------+
                         | RAM                       |
    0x0001_0000          +---------------------------+
                         | setup data: random seed   |  linux only
    0x0000_f000          +---------------------------+
                         | page tables, 6 pages      |  elf64 and linux
    0x0000_9000          +---------------------------+
                         | command line, 4 KiB       |
    0x0000_8000          +---------------------------+
                         | start info, memory map,   |  linux: the zero page; multiboot: its
                         | module list               |  information; a flat image: 0x7c00
    0x0000_7000          +---------------------------+
                         | GDT                       |
    0x0000_6000          +---------------------------+
                         | stack at entry, downwards |
    0x0000_0000          +---------------------------+

All from 0 to 0xf000 is the boot data. Where an ELF or Multiboot kernel itself lies there, the boot
data is moved up as a whole (boot/boot_data.py).

Ports and interrupt lines are those of the PC (IBM PC AT Technical Reference), and QEMU's for
the exit port.
"""

from __future__ import annotations

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

# Memory.
LOW_RAM_END = 0x9FC00  # the extended BIOS data area of a PC starts here
HIGH_MEMORY = 1 * MIB
MMIO_HOLE = 3 * GIB
MMIO_HOLE_END = 4 * GIB

# What ringlet writes for the guest before its first instruction.
BOOT_DATA = 0x6000
GDT = 0x6000
START_INFO = 0x7000
START_INFO_SIZE = 0x1000
ZERO_PAGE = START_INFO  # the same place, for Linux
COMMAND_LINE = 0x8000
COMMAND_LINE_SIZE = 0x1000
PAGE_TABLES = 0x9000
BOOT_DATA_END = 0xF000
SETUP_DATA = 0xF000
SETUP_DATA_SIZE = 0x1000
STACK_TOP = 0x6000
FLAT_LOAD = 0x7C00  # where a PC's firmware puts a boot sector

# The ACPI tables, where a PC's firmware has them: the RSDP first (ACPI 6.5, 5.2.5.1).
RSDP = 0xE0000
ACPI_SIZE = 0x1C000

# The MP table, where a kernel looks for one (MultiProcessor Specification 1.4, 4), and two words of
# the BIOS data area: the segment of the extended one, and how much memory lies below it, in KiB.
MP_TABLE = 0xFC000
EBDA_WORD = 0x40E
BASE_MEMORY_WORD = 0x413

# KVM wants three pages for the TSS and one for the identity map, outside RAM (kvm-intel).
IDENTITY_MAP = 0xFFFB_C000
TSS = 0xFFFB_D000

KVM_PAGES = (IDENTITY_MAP, 0x4000)

# Devices in KVM: first address or port, and how many.
IO_APIC = (0xFEC0_0000, 0x1000)
LOCAL_APIC = (0xFEE0_0000, 0x1000)
PIC_PORTS = (
    (0x20, 2),  # the first
    (0xA0, 2),  # the second
    (0x4D0, 2),  # which of their inputs are level-triggered
)
PIT_PORTS = (
    (0x40, 4),  # i8254
    (0x61, 1),  # its third channel's gate and output
)
PIT_IRQ = 0

# Virtio over MMIO: device n has the n-th page from here on, and the n-th interrupt line. First come
# those that nobody else on a PC has.
VIRTIO_MMIO = 0xD000_0000
VIRTIO_SIZE = 0x1000
VIRTIO_IRQS = (16, 17, 18, 19, 20, 21, 22, 23, 10, 11, 12, 14, 15, 6, 7)

# Port I/O: first port and number of ports.
KEYBOARD_DATA_PORT = 0x60
KEYBOARD_CONTROLLER_PORT = 0x64
CMOS_PORT = 0x70
CMOS_PORTS = 2
SYSTEM_CONTROL_PORT = 0x92
EXIT_PORT = 0xF4
CURSOR_PORT = 0x3D4
CURSOR_PORTS = 2
PVPANIC_PORT = 0x505
PM1_EVENT_PORT = 0x600  # ACPI's status, then its enable register, of two bytes each
PM1_EVENT_PORTS = 4
PM1_CONTROL_PORT = 0x604
PM1_CONTROL_PORTS = 2
RESET_CONTROL_PORT = 0xCF8
RESET_CONTROL_PORTS = 4
UART_PORTS = 8
COM1_PORT = 0x3F8
COM1_IRQ = 4
COM2_PORT = 0x2F8
COM2_IRQ = 3
COM3_PORT = 0x3E8
COM3_IRQ = 5  # not COM1's, as on a PC: edges can't be shared
RTC_IRQ = 8
SCI_IRQ = 9  # ACPI's interrupt
IRQ_LINES = 24  # inputs of the I/O APIC


def virtio_address(number: int) -> int:
    """Where the registers of virtio device `number` begin."""
    return VIRTIO_MMIO + number * VIRTIO_SIZE


def ram_ranges(size: int) -> list[tuple[int, int]]:
    """Where `size` bytes of RAM lie: (address, size) of each range, around the MMIO hole."""
    low = min(size, MMIO_HOLE)
    ranges = [(0, low)]
    if size > low:
        ranges.append((MMIO_HOLE_END, size - low))
    return ranges
