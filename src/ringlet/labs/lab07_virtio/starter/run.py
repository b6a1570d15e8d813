"""Boots the guest `blk`, whose driver uses the disk of device.py. Run it with ringlet's Python:

    python3 run.py             the guest writes to the disk, and reads what it wrote
    python3 run.py --registers the same, and shows each register that the driver uses
"""

import os
import sys

try:
    from ringlet import Machine, MachineConfig
except ImportError:
    sys.exit("this Python has no ringlet: activate the virtual environment of ringlet, and try again")

from device import Disk

ADDRESS, IRQ = 0xD0000000, 16


class Memory:
    """The guest's memory, as device.py wants it."""

    def __init__(self, memory):
        self._memory = memory

    def read(self, address, size):
        self._check(address, size)
        return self._memory.read(address, size)

    def write(self, address, data):
        self._check(address, len(data))
        self._memory.write(address, bytes(data))

    def _check(self, address, size):
        if not self._memory.has(address, size):
            raise IndexError(f"the guest has no {size} bytes of memory at {address:#x}")


class Registers:
    """The device of ringlet's machine that hands each access to device.py."""

    def __init__(self, machine, shown):
        self.state = {}
        line = machine.irq_line(IRQ)
        self._shown = shown
        self._disk = Disk(
            Memory(machine.memory),
            lambda: (line.set(True), line.set(False)),
            bytearray(os.urandom(64 * 512)),
        )

    def read(self, offset, size):
        value = self._disk.read(offset)
        if self._shown:
            print(f"read  {offset:#05x}: {value:#x}", file=sys.stderr)
        return value

    def write(self, offset, size, value):
        if self._shown:
            print(f"write {offset:#05x}: {value:#x}", file=sys.stderr)
        self._disk.write(offset, value)


def main():
    config = MachineConfig(
        image="blk",
        cmdline=f"virtio_mmio.device=4K@{ADDRESS:#x}:{IRQ}",
        serial="stdio",
        timeout=5,
    )
    with Machine(config) as machine:
        machine.add_mmio_device(ADDRESS, 0x1000, Registers(machine, "--registers" in sys.argv))
        result = machine.run()
    print(f"The run ended: {result.reason}, status {result.status}.")


main()
