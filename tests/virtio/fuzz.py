"""What a hostile driver must not reach, and the proof that it hurts nobody but itself.

It has bursts, each from a seed of its own. After each one the device, reset, has to work for a
driver that keeps to the rules.

`make fuzz` runs it for long: FUZZ_OPERATIONS accesses to registers or memory, from FUZZ_SEED on.
"""

import ctypes
import faulthandler
import mmap
import os
import random
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ringlet.closing import Closing
from ringlet.host.disk import open_disk
from ringlet.host.network_port import NetworkPort
from ringlet.host.output import PolledOutput
from ringlet.host.tap import Tap
from ringlet.kvm.memory import GuestMemory, Region
from ringlet.virtio.block import F_FLUSH, Block
from ringlet.virtio.console import MESSAGE, PORT_OPEN, VIRTIO_CONSOLE_F_MULTIPORT, Console
from ringlet.virtio.device import KEPT as COMES_LATER
from ringlet.virtio.device import TRANSPORT_FEATURES, Kept, VirtioDevice
from ringlet.virtio.entropy import Entropy
from ringlet.virtio.mmio import VirtioMmio
from ringlet.virtio.net import ETHERNET, HEADER, MOST, Net
from ringlet.virtio.port import Port as ConsolePort
from ringlet.virtio.queue import Chain, DriverError
from ringlet.virtio.worker import MAX_THREADS

from ..networks import GUEST, HOST, MAC, arp_request
from ..until import until
from .driver import WRITE, Driver, Queue
from .hostile_driver import DISK_SIZE, HIGH, HIGH_SIZE, RAM_SIZE, SECTOR, SIZES, TABLES_END, Attack

PAGE, GUARD = mmap.PAGESIZE, 2 << 20
HANGS = 120  # seconds without progress after which something hangs

# Far away, where no address that it makes up points to: the rings of those who keep to the rules.
PRIVATE, PRIVATE_SIZE = 0x75A_5A5A_0000, 512 << 10

# The disk is a file full of holes. What is valid is written to these sectors, which no request of
# the hostile driver reaches.
KEPT, KEPT_SECTORS = 0xA5_A5A5, 64


class Guarded:
    """A region of guest memory between ranges that end the process if they are touched.

    They are wider than a ring's indices reach.
    """

    def __init__(self, address: int, size: int) -> None:
        self.fd = os.memfd_create("guest")
        os.ftruncate(self.fd, GUARD + size + GUARD)
        mapping = mmap.mmap(self.fd, 0)
        protect = ctypes.CDLL(None).mprotect
        start = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
        for guard in (start, start + GUARD + size):
            assert protect(ctypes.c_void_p(guard), ctypes.c_size_t(GUARD), 0) == 0
        self.region = Region(address, mapping, GUARD)
        self.region.size = size
        self.region.view = self.region.view[:size]


class Echo(VirtioDevice):
    """Copies what it reads to where it may write; every other time it takes longer.

    Some chains it keeps, until there are more of them.
    """

    device_id = 42
    queue_sizes = (256, 4, 64)
    config = bytes(range(23))

    def __init__(self) -> None:
        self.kept: list[tuple[int, Chain]] = []

    def handle(self, queue: int, chain: Chain) -> int | Callable[[], int] | Kept:
        if chain.head % 4 == 3:
            self.kept.append((queue, chain))
            if len(self.kept) > 3:
                self._complete(*self.kept.pop(0))
            return COMES_LATER
        if chain.head % 2:
            return lambda: self._copy(chain)
        return self._copy(chain)

    def _complete(self, queue: int, chain: Chain) -> None:
        self.queues[queue].complete(chain, lambda: self._copy(chain))

    def reset(self) -> None:
        self.kept.clear()

    def _copy(self, chain: Chain) -> int:
        data = b"".join(bytes(view[:512]) for view in chain.readable[:8])
        if data[:4] == b"evil":
            raise DriverError("evil")
        written = 0
        for view in chain.writable[:8]:
            part = data[written : written + len(view)]
            view[: len(part)] = part
            written += len(part)
        return written

    def write_config(self, offset: int, data: bytes) -> None:
        self.config = self.config[:offset] + data + self.config[offset + len(data) :]


class Target:
    """A device with its transport, and a driver that keeps to the rules."""

    def __init__(self, device: VirtioDevice, memory: GuestMemory, number: int) -> None:
        self.errors: list[BaseException] = []
        self.device = device
        self.transport = VirtioMmio(device, memory, self.errors.append)
        self.transport.start()
        self.base = PRIVATE + 0x8000 * number
        self.driver = Driver(self.transport, memory, self.base)
        self.memory = memory

    def request(self, *buffers: tuple[int, int, int]) -> int:
        return self.queue.request(buffers)

    def start(self, features: int, size: int) -> None:
        self.queue, *_ = self.driver.start(features, size)

    def check(self, random: random.Random) -> None:
        """Works: does what it is asked for, and gives the right data."""
        data = random.randbytes(20)
        self.memory.write(self.base + 0x7000, data)
        assert self.request((self.base + 0x7000, 20, 0), (self.base + 0x7100, 20, WRITE)) == 20
        assert self.memory.read(self.base + 0x7100, 20) == data


class Source(Target):
    """One with an entropy device, which is fast: `check` may have to wait for what was asked."""

    def __init__(self, memory: GuestMemory, number: int) -> None:
        super().__init__(Entropy(rate=32 << 20), memory, number)

    def check(self, random: random.Random) -> None:
        buffer = self.base + 0x7000
        self.memory.write(buffer, bytes(64))
        assert self.request((buffer, 24, WRITE), (buffer + 32, 8, WRITE)) == 32
        found = self.memory.read(buffer, 64)
        assert any(found[:24])
        assert any(found[32:40])
        assert not any(found[24:32] + found[40:])


class Terminals(Target):
    """One with a console of two ports, of which a pipe that nobody reads takes the output.

    It has more queues than others, and is the last: its rings take more room.
    """

    def __init__(self, memory: GuestMemory, number: int) -> None:
        self.reader, self.writer = os.pipe2(os.O_NONBLOCK)
        self.ports = [
            ConsolePort("terminal", PolledOutput(self.writer), console=True),
            ConsolePort("function", lambda data: None),
        ]
        super().__init__(Console(self.ports), memory, number)

    def start(self, features: int, size: int) -> None:
        self.queues = self.driver.start(features | VIRTIO_CONSOLE_F_MULTIPORT, size)
        for number in range(2):
            self.send(self.queues[3], MESSAGE.pack(number, PORT_OPEN, 1))

    def send(self, queue: Queue, data: bytes) -> None:
        place = self.base + 0xE000
        self.memory.write(place, data)
        queue.request([(place, len(data), 0)])

    def storm(self, random: random.Random) -> None:
        """Input, and new sizes, while the driver does its worst."""
        assert isinstance(self.device, Console)
        for _ in range(random.randrange(20)):
            self.device.resize(random.randrange(1 << 16), random.randrange(1 << 16))
            self.ports[1].receive(random.randbytes(random.randrange(1, 300)))

    def check(self, random: random.Random) -> None:
        assert isinstance(self.device, Console)
        assert len(self.device.state["messages"]) <= 4 * len(self.ports)
        data = random.randbytes(20)
        with suppress(BlockingIOError):
            while os.read(self.reader, 1 << 16):
                pass
        self.send(self.queues[1], data)
        assert os.read(self.reader, 1 << 16).endswith(data)
        queue, place = self.queues[4], self.base + 0xF000
        queue.offer(queue.chain([(place, 32, WRITE)]))
        queue.notify()
        until(lambda: self.ports[1].room)
        assert self.ports[1].receive(data) == 20
        assert queue.take() == (0, 20)
        assert self.memory.read(place, 20) == data

    def close(self) -> None:
        for port in self.ports:
            if isinstance(port.sink, PolledOutput):
                port.sink.close()
        os.close(self.reader)
        os.close(self.writer)


class Port(NetworkPort):
    """A network of a program, whose frames have the device's header."""

    has_header = True


class Wire(Target):
    """One with a network device, whose other end is a program's, or a real interface."""

    def __init__(self, memory: GuestMemory, number: int, end: Port | Tap) -> None:
        super().__init__(Net(end, MAC), memory, number)
        self.end = end

    def start(self, features: int, size: int) -> None:
        self.receiving, self.sending = self.driver.start(features, size)

    def storm(self, random: random.Random) -> None:
        """Frames of any length, with any header, while the driver does its worst."""
        if isinstance(self.end, Port):
            for _ in range(random.randrange(100)):
                size = random.choice((14, 60, 100, 1514, 9000, 65535, random.randrange(14, 2000)))
                fields = [random.choice((0, 1, 255)) for _ in range(2)]
                fields += [random.choice((0, 34, 0xFFFF)) for _ in range(5)]
                self.end.send(HEADER.pack(*fields) + bytes(size))

    def check(self, random: random.Random) -> None:
        if isinstance(self.end, Port):
            while (frame := self.end.receive(0)) is not None:
                assert ETHERNET <= len(frame) - HEADER.size <= MOST
            content = random.randbytes(60)
            self.send(content)
            while (frame := self.end.receive(HANGS)) != bytes(12) + content:
                assert frame is not None
            assert self.end.send(bytes(12) + content)
            self.receive(lambda frame: frame == content)
        else:
            self.send(arp_request(HOST, GUEST))
            self.receive(lambda frame: frame[20:22] == b"\0\2")

    def send(self, frame: bytes) -> None:
        place = self.base + 0x7000
        self.memory.write(place, bytes(12) + frame)
        assert self.sending.request([(place, 12 + len(frame), 0)]) == 0

    def receive(self, wanted: Callable[[bytes], bool]) -> None:
        """Waits for such a frame; others may have waited for longer."""
        place = self.base + 0x6000
        while True:
            written = self.receiving.request([(place, 0x800, WRITE)])
            if wanted(self.memory.read(place, written)[12:]):
                return


class Disk(Target):
    """One with a block device, on the file `path`."""

    def __init__(self, path: Path, memory: GuestMemory, number: int, *, readonly: bool) -> None:
        super().__init__(Block(open_disk(path, readonly=readonly)), memory, number)
        self.readonly = readonly
        self.content = bytearray(KEPT_SECTORS * SECTOR)
        self.file = os.open(path, os.O_RDONLY)
        status = os.fstat(self.file)
        self.untouched = (status.st_mtime_ns, status.st_blocks)

    def check(self, random: random.Random) -> None:
        place = random.randrange(KEPT_SECTORS)
        if not self.readonly:
            data = random.randbytes(SECTOR)
            assert self.transfer(1, place, data) == b"\0"
            self.content[place * SECTOR : (place + 1) * SECTOR] = data
        other = random.randrange(KEPT_SECTORS)
        for sector in (place, other):
            assert self.transfer(0, sector, bytes(SECTOR)) == b"\0"
            found = self.memory.read(self.base + 0x7100, SECTOR)
            assert found == self.content[sector * SECTOR : (sector + 1) * SECTOR]

    def transfer(self, kind: int, place: int, data: bytes) -> bytes:
        """Reads or writes one of the sectors that are kept; the status."""
        header, buffer, status = self.base + 0x7000, self.base + 0x7100, self.base + 0x7010
        self.memory.write(header, struct.pack("<IIQB", kind, 0, KEPT + place, 0xFF))
        self.memory.write(buffer, data)
        self.request((header, 16, 0), (buffer, SECTOR, WRITE * (not kind)), (status, 1, WRITE))
        return self.memory.read(status, 1)

    def check_file(self) -> None:
        """The file has its size, and what was written by those who keep to the rules."""
        status = os.fstat(self.file)
        assert status.st_size == DISK_SIZE
        if self.readonly:
            assert (status.st_mtime_ns, status.st_blocks) == self.untouched
        found = os.pread(self.file, len(self.content), KEPT * SECTOR)
        assert found == self.content


class Arena(Closing):
    """The devices, their memory, and what must not happen to them. Its files are in `folder`.

    With `tap`, one is a network device on this interface, which closes it.
    """

    def __init__(self, folder: Path, tap: Tap | None = None) -> None:
        self.operations = 0
        parts = [Guarded(0, RAM_SIZE), Guarded(HIGH, HIGH_SIZE), Guarded(PRIVATE, PRIVATE_SIZE)]
        self.memory = GuestMemory([part.region for part in parts])
        self.ram = self.memory.regions[0].view
        self.targets: list[Target] = []
        for number, name in enumerate(("disk", "readonly", "bystander")):
            path = folder / name
            path.touch()
            os.truncate(path, DISK_SIZE)
            self.targets.append(Disk(path, self.memory, number, readonly=name == "readonly"))
        self.disks = [target for target in self.targets if isinstance(target, Disk)]
        self.bystander = self.targets.pop()
        self.bystander.start(TRANSPORT_FEATURES | F_FLUSH, 16)
        self.targets.append(Target(Echo(), self.memory, 3))
        self.targets.append(Source(self.memory, 4))
        self.targets.append(Wire(self.memory, 5, Port()))
        self.terminals = Terminals(self.memory, 8)
        self.targets.append(self.terminals)
        if tap is not None:
            self.targets.append(Wire(self.memory, 6, tap))
        self.interval = sys.getswitchinterval()
        sys.setswitchinterval(0.0001)  # the device's threads come to their turn

        self.scribbles = mmap.mmap(parts[0].fd, PAGE)  # its first byte says whether
        command = [sys.executable, str(Path(__file__).with_name("scribble.py"))]
        area = [str(GUARD), str(GUARD + TABLES_END)]
        fd = parts[0].fd
        environment = {name: os.environ[name] for name in os.environ if name != "LD_PRELOAD"}
        self.scribbler = subprocess.Popen(
            [*command, str(fd), *area], pass_fds=[fd], env=environment
        )
        for part in parts:
            os.close(part.fd)
        self.descriptors = len(os.listdir("/proc/self/fd"))

    def burst(self, random: random.Random, steps: int) -> None:
        """Some hostile steps, and what holds after them."""
        target = self.targets[int(random.random() * (len(self.targets) + 1)) % len(self.targets)]
        attack = Attack(random, target.transport, self.ram)
        self.scribbles[0] = random.random() < 0.2
        if isinstance(target, Wire | Terminals):
            target.storm(random)
        attack.run(steps)
        self.scribbles[0] = 0
        self.operations += attack.operations

        self.bystander.check(random)
        features = TRANSPORT_FEATURES
        if isinstance(target, Disk) and random.random() < 0.8:
            features |= F_FLUSH
        target.start(features, attack.choose(SIZES[2:]) if isinstance(target, Disk) else 4)
        target.check(random)
        assert self.scribbler.poll() is None
        for each in (*self.targets, self.bystander):
            assert each.errors == []
            assert len(each.transport._worker._threads) <= MAX_THREADS

    def check(self) -> None:
        """What takes longer to look at."""
        for disk in self.disks:
            disk.check_file()
        assert len(os.listdir("/proc/self/fd")) == self.descriptors

    def close(self) -> None:
        sys.setswitchinterval(self.interval)
        self.scribbler.kill()
        self.scribbler.wait()
        self.scribbles.close()
        for target in (*self.targets, self.bystander):
            target.transport.close()
        for disk in self.disks:
            os.close(disk.file)
        self.terminals.close()
        self.memory.close()


def fuzz(
    folder: Path,
    operations: int,
    seed: int,
    report: Callable[[str], None],
    tap: Tap | None = None,
) -> None:
    """At least so many operations. Raises `AssertionError` where something is broken."""
    began = time.monotonic()
    told = 0
    try:
        with Arena(folder, tap) as arena:
            number = 0
            while arena.operations < operations:
                mind = random.Random(f"{seed} {number}")
                try:
                    arena.burst(mind, mind.randrange(10, 80))
                    if number % 64 == 0:
                        arena.check()
                        faulthandler.dump_traceback_later(HANGS, exit=True)
                except BaseException:
                    report(f"seed {seed}: burst {number} failed")
                    raise
                number += 1
                if arena.operations - told >= operations // 10:
                    told = arena.operations
                    speed = told / (time.monotonic() - began)
                    report(f"seed {seed}: {told:,} operations, {number:,} bursts, {speed:,.0f}/s")
            arena.check()
    finally:
        faulthandler.cancel_dump_traceback_later()
