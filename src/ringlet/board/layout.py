"""The guest's address map: all guest addresses that ringlet chooses.

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

The range from 0 to 0xf000 is the boot data. If an ELF or Multiboot kernel itself lies in this
range, the boot data moves up as a whole (boot/boot_data.py).

Ports and interrupt lines are the PC's (IBM PC AT Technical Reference); the exit port is QEMU's.
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

# The data that ringlet writes for the guest before the guest's first instruction.
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

# The ACPI tables, at the address where a PC's firmware puts them, the RSDP first (ACPI 6.5,
# 5.2.5.1).
RSDP = 0xE0000
ACPI_SIZE = 0x1C000

# The MP table, at an address where kernels look for it (MultiProcessor Specification 1.4, 4), and
# two words of the BIOS data area: the segment of the extended BIOS data area, and the KiB of memory
# below that segment.
MP_TABLE = 0xFC000
EBDA_WORD = 0x40E
BASE_MEMORY_WORD = 0x413

# kvm-intel needs three pages for the TSS and one page for the identity map, outside RAM.
IDENTITY_MAP = 0xFFFB_C000
TSS = 0xFFFB_D000

KVM_PAGES = (IDENTITY_MAP, 0x4000)

# The devices that KVM emulates: the first address or port, and the number of them.
IO_APIC = (0xFEC0_0000, 0x1000)
LOCAL_APIC = (0xFEE0_0000, 0x1000)
PIC_PORTS = (
    (0x20, 2),  # the first PIC
    (0xA0, 2),  # the second PIC
    (0x4D0, 2),  # ELCR: the inputs that are level-triggered
)
PIT_PORTS = (
    (0x40, 4),  # i8254
    (0x61, 1),  # the gate and the output of the i8254's third channel
)
PIT_IRQ = 0

# Virtio over MMIO: device n has the n-th page from here on, and the n-th line of the list.
# The lines that no other device of a PC uses come first.
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
PM1_EVENT_PORT = 0x600  # ACPI's status register, then its enable register, two bytes each
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
COM3_IRQ = 5  # on a PC, COM1 and COM3 share IRQ 4; but edge-triggered lines can't be shared
RTC_IRQ = 8
SCI_IRQ = 9  # ACPI's interrupt
IRQ_LINES = 24  # inputs of the I/O APIC


def virtio_address(number: int) -> int:
    """Returns the address at which the registers of virtio device `number` begin."""
    return VIRTIO_MMIO + number * VIRTIO_SIZE


def ram_ranges(size: int) -> list[tuple[int, int]]:
    """Returns (address, size) for each range of `size` bytes of RAM, outside the MMIO hole."""
    low = min(size, MMIO_HOLE)
    ranges = [(0, low)]
    if size > low:
        ranges.append((MMIO_HOLE_END, size - low))
    return ranges
