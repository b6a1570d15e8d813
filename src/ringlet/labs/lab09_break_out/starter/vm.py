"""Boots guest.bin in a machine with a device that is open. Run it with ringlet's Python: make run"""

import sys

try:
    from ringlet import Machine, MachineConfig
except ImportError:
    sys.exit("this Python has no ringlet: activate the virtual environment of ringlet, and try again")


class Message:
    """A device: the guest writes an index to the first port, and reads a byte from the second."""

    def __init__(self):
        self.state = {}
        self._index = 0
        # What the device is for, and what happens to lie behind it in the memory of the VMM.
        self._memory = b"Hello, guest!\n\0\0" + b"SECRET-OF-A-HOST"

    def read(self, offset, size):
        return self._memory[self._index % len(self._memory)]

    def write(self, offset, size, value):
        if offset == 0:
            self._index = value


class Nothing:
    """What the guest finds behind its memory: an access is an exit, and the VMM answers."""

    state = {}

    def read(self, offset, size):
        print(f"an exit: the guest reads at {0x80000 + offset:#x}; the VMM answers 0x2a")
        return 0x2A

    def write(self, offset, size, value):
        print(f"an exit: the guest writes at {0x80000 + offset:#x}")


class Console:
    """Port 0xe9."""

    state = {}

    def read(self, offset, size):
        return 0xFF

    def write(self, offset, size, value):
        print(f"{value:#04x} {chr(value)!r}")


config = MachineConfig(image="guest.bin", memory=0x80000, protocol="flat", timeout=5)
with Machine(config) as machine:
    machine.add_port_device(0xE9, 1, Console())
    machine.add_port_device(0x510, 2, Message())
    machine.add_mmio_device(0x80000, 0x1000, Nothing())
    result = machine.run()
    print(f"The run ended: {result.reason}, status {result.status}.")
