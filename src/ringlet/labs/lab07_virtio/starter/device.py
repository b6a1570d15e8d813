"""My virtio disk. `python3 run.py` boots a guest whose driver uses it."""

import struct

# Registers of virtio over MMIO (virtio 1.2, 4.2.2), as offsets. Each has 32 bits.
MAGIC_VALUE = 0x000
VERSION = 0x004
DEVICE_ID = 0x008
VENDOR_ID = 0x00C
DEVICE_FEATURES = 0x010
DEVICE_FEATURES_SEL = 0x014
DRIVER_FEATURES = 0x020
DRIVER_FEATURES_SEL = 0x024
QUEUE_SEL = 0x030
QUEUE_SIZE_MAX = 0x034
QUEUE_SIZE = 0x038
QUEUE_READY = 0x044
QUEUE_NOTIFY = 0x050
INTERRUPT_STATUS = 0x060
INTERRUPT_ACK = 0x064
STATUS = 0x070
QUEUE_DESC = 0x080  # the lower half of an address; the upper half is at 0x084
QUEUE_DRIVER = 0x090  # and 0x094
QUEUE_DEVICE = 0x0A0  # and 0x0a4
CONFIG_GENERATION = 0x0FC
CONFIG = 0x100  # of a block device: the number of sectors, 64 bits

MAGIC = 0x74726976  # "virt"
BLOCK_DEVICE = 2
VERSION_1 = 1 << 32  # a feature (virtio 1.2, 6)

# Bits of STATUS (2.1).
FEATURES_OK = 8
DEVICE_NEEDS_RESET = 64

# Bits of INTERRUPT_STATUS (4.2.2).
USED_BUFFER = 1
CONFIG_CHANGE = 2

# A descriptor: address, length, flags, next (2.7.5).
DESCRIPTOR = struct.Struct("<QIHH")
NEXT = 1  # in flags: another descriptor follows, and `next` is its number
WRITE = 2  # in flags: the device writes to this buffer; without, the device reads it

# A request's header: type, reserved, sector (5.2.6).
HEADER = struct.Struct("<IIQ")
SECTOR_SIZE = 512
READ, WRITE_SECTORS, GET_ID = 0, 1, 8  # types
ID = b"my disk".ljust(20, b"\0")
OK, IO_ERROR, UNSUPPORTED = 0, 1, 2  # what the status byte says

QUEUE_MAX = 128


class Disk:
    """The device.

    memory     the guest's memory: memory.read(address, size) returns bytes, memory.write(address,
               data) takes bytes. Both raise IndexError where the guest has no memory.
    interrupt  a function: interrupts the guest
    content    the disk: a bytearray of whole sectors
    """

    def __init__(self, memory, interrupt, content):
        self.memory = memory
        self.interrupt = interrupt
        self.content = content

    def read(self, offset):
        """The driver reads the register at `offset`. Returns 32 bits."""
        # Step 1.
        return 0

    def write(self, offset, value):
        """The driver writes 32 bits to the register at `offset`."""
        # Step 1: status, features, the place of the queue.
        # Step 2: a write to QUEUE_NOTIFY: take the requests that are in the queue.
