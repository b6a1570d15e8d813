"""The reference disk. `python3 run.py` boots a guest whose driver uses it."""

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
RINGS = (QUEUE_DESC, QUEUE_DRIVER, QUEUE_DEVICE)


class BadQueue(Exception):
    """The driver breaks the rules."""


class Disk:
    """The device."""

    def __init__(self, memory, interrupt, content):
        self.memory = memory
        self.interrupt = interrupt
        self.content = content
        self.reset()

    def reset(self):
        self.status = 0
        self.interrupt_status = 0
        self.features_sel = [0, 0]  # of the device, of the driver
        self.driver_features = 0
        self.queue_sel = 0
        self.size = 0
        self.ready = 0
        self.rings = dict.fromkeys(RINGS, 0)
        self.taken = 0  # requests: index of the available ring
        self.used = 0  # index of the used ring

    def read(self, offset):
        if offset == DEVICE_FEATURES:
            return self.half(VERSION_1, self.features_sel[0])
        if offset == QUEUE_SIZE_MAX:
            return QUEUE_MAX if self.queue_sel == 0 else 0
        if offset == QUEUE_READY:
            return self.ready if self.queue_sel == 0 else 0
        sectors = len(self.content) // SECTOR_SIZE
        values = {
            MAGIC_VALUE: MAGIC,
            VERSION: 2,
            DEVICE_ID: BLOCK_DEVICE,
            INTERRUPT_STATUS: self.interrupt_status,
            STATUS: self.status,
            CONFIG: sectors & 0xFFFFFFFF,
            CONFIG + 4: sectors >> 32,
        }
        return values.get(offset, 0)

    @staticmethod
    def half(value, number):
        return value >> 32 * number & 0xFFFFFFFF if number < 2 else 0

    def write(self, offset, value):
        if offset == STATUS:
            self.set_status(value)
        elif offset == DEVICE_FEATURES_SEL:
            self.features_sel[0] = value
        elif offset == DRIVER_FEATURES_SEL:
            self.features_sel[1] = value
        elif offset == DRIVER_FEATURES:
            if self.features_sel[1] < 2:
                shift = 32 * self.features_sel[1]
                self.driver_features &= ~(0xFFFFFFFF << shift)
                self.driver_features |= value << shift
        elif offset == QUEUE_SEL:
            self.queue_sel = value
        elif offset == INTERRUPT_ACK:
            self.interrupt_status &= ~value
        elif offset == QUEUE_NOTIFY:
            self.notified()
        elif self.queue_sel == 0:
            self.set_queue(offset, value)

    def set_status(self, value):
        if value == 0:
            self.reset()
            return
        if value & FEATURES_OK and self.driver_features != VERSION_1:
            value &= ~FEATURES_OK
        self.status = value | self.status & DEVICE_NEEDS_RESET

    def set_queue(self, offset, value):
        if offset == QUEUE_SIZE:
            self.size = value
        elif offset == QUEUE_READY:
            self.ready = value & 1
        elif offset in self.rings:
            self.rings[offset] = self.rings[offset] & ~0xFFFFFFFF | value
        elif offset - 4 in self.rings:
            ring = offset - 4
            self.rings[ring] = self.rings[ring] & 0xFFFFFFFF | value << 32

    def notified(self):
        if not self.ready or self.status & DEVICE_NEEDS_RESET:
            return
        try:
            if not 0 < self.size <= QUEUE_MAX:
                raise BadQueue
            while self.taken != self.number(QUEUE_DRIVER, 2):
                self.take()
        except (BadQueue, IndexError):
            self.status |= DEVICE_NEEDS_RESET
            self.tell(CONFIG_CHANGE)

    def number(self, ring, offset):
        return int.from_bytes(self.memory.read(self.rings[ring] + offset, 2), "little")

    def take(self):
        head = self.number(QUEUE_DRIVER, 4 + 2 * (self.taken % self.size))
        self.taken = (self.taken + 1) % 65536
        written = self.carry_out(self.chain(head))
        element = struct.pack("<II", head, written)
        self.memory.write(self.rings[QUEUE_DEVICE] + 4 + 8 * (self.used % self.size), element)
        self.used = (self.used + 1) % 65536
        self.memory.write(self.rings[QUEUE_DEVICE] + 2, self.used.to_bytes(2, "little"))
        self.tell(USED_BUFFER)

    def tell(self, reason):
        self.interrupt_status |= reason
        self.interrupt()

    def chain(self, number):
        """Returns the buffers of a chain: (address, size, whether the device writes to it)."""
        buffers = []
        while len(buffers) < self.size:
            if number >= self.size:
                raise BadQueue
            at = self.rings[QUEUE_DESC] + DESCRIPTOR.size * number
            address, size, flags, following = DESCRIPTOR.unpack(
                self.memory.read(at, DESCRIPTOR.size)
            )
            buffers.append((address, size, bool(flags & WRITE)))
            if not flags & NEXT:
                return buffers
            number = following
        raise BadQueue  # a circle

    def carry_out(self, buffers):
        """Does what a request asks for. Returns how many bytes were written to guest memory."""
        if len(buffers) < 2 or buffers[0][2] or buffers[0][1] < HEADER.size:
            raise BadQueue
        if not buffers[-1][2] or buffers[-1][1] != 1:
            raise BadQueue
        kind, _, sector = HEADER.unpack(self.memory.read(buffers[0][0], HEADER.size))
        data = buffers[1:-1]
        start = sector * SECTOR_SIZE
        size = sum(size for _, size, _ in data)
        written = 0
        if kind == GET_ID:
            status, written = self.to_guest(data, ID)
        elif kind not in (READ, WRITE_SECTORS):
            status = UNSUPPORTED
        elif start + size > len(self.content) or size % SECTOR_SIZE:
            status = IO_ERROR
        elif kind == READ:
            status, written = self.to_guest(data, self.content[start : start + size])
        elif any(is_writable for _, _, is_writable in data):
            status = IO_ERROR
        else:
            got = b"".join(self.memory.read(address, size) for address, size, _ in data)
            self.content[start : start + size] = got
            status = OK
        self.memory.write(buffers[-1][0], bytes([status]))
        return written + 1

    def to_guest(self, buffers, data):
        if not all(is_writable for _, _, is_writable in buffers):
            return IO_ERROR, 0
        done = 0
        for address, size, _ in buffers:
            piece = data[done : done + size]
            self.memory.write(address, piece)
            done += len(piece)
        return OK, done
