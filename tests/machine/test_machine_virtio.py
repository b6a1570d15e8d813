"""A machine's virtio devices: where they are, how they get at KVM, what becomes of their errors.

The guest is `blk`, which looks for a block device on its command line.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ringlet.board import layout
from ringlet.errors import ConfigError
from ringlet.kvm.memory import GuestMemory
from ringlet.machine.config import MachineConfig
from ringlet.machine.machine import Machine
from ringlet.virtio.device import KEPT, Kept, VirtioDevice
from ringlet.virtio.queue import Chain

from ..until import until

pytestmark = pytest.mark.needs_kvm

MIB = 1 << 20


class Failing(VirtioDevice):
    """A block device with an error of its own in it."""

    device_id = 2
    config = (2048).to_bytes(8, "little") + bytes(52)

    def __init__(self, error: Callable[[Chain], int | Callable[[], int] | Kept]) -> None:
        self._handle = error
        self.closed = False

    def handle(self, queue: int, chain: Chain) -> int | Callable[[], int] | Kept:
        return self._handle(chain)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(MIB))
    return path


def config(*disks: str, image: str = "blk", cmdline: str = "") -> MachineConfig:
    return MachineConfig(image=image, disks=disks, serial="none", timeout=60, cmdline=cmdline)


def broken(chain: Chain) -> int:
    raise ZeroDivisionError


def broken_later(chain: Chain) -> Callable[[], int]:
    return lambda: broken(chain)


@pytest.mark.parametrize("handle", [broken, broken_later])
def test_what_a_device_raises_comes_out_of_run_and_all_is_closed(
    handle: Callable[[Chain], int | Callable[[], int] | Kept], no_leak: None
) -> None:
    device = Failing(handle)
    with Machine(config(), virtio=[device]) as machine, pytest.raises(ZeroDivisionError):
        machine.run()
    assert device.closed
    with pytest.raises(ValueError, match="released"):
        len(machine.memory.regions[0].view)


def test_disks_come_before_a_programs_own_devices(image: Path) -> None:
    with Machine(config(os.fspath(image), cmdline="keep"), virtio=[Failing(broken)]) as machine:
        assert machine.run().status == 0
    assert any(image.read_bytes())


def test_each_device_has_a_page_and_an_interrupt_line(image: Path) -> None:
    devices = [Failing(broken) for _ in layout.VIRTIO_IRQS]
    with Machine(config(), virtio=devices) as machine:
        assert [
            machine.board.mmio.read(layout.virtio_address(number), 4)
            for number in range(len(devices))
        ] == [int.from_bytes(b"virt", "little")] * len(devices)
    assert len(set(layout.VIRTIO_IRQS)) == len(layout.VIRTIO_IRQS)


def test_more_devices_than_there_is_room_for_are_refused(no_leak: None) -> None:
    devices = [Failing(broken) for _ in range(len(layout.VIRTIO_IRQS) + 1)]
    with pytest.raises(ConfigError, match="too many"):
        Machine(config(), virtio=devices)


def test_a_disk_that_is_missing_is_refused_and_nothing_stays_open(no_leak: None) -> None:
    with pytest.raises(ConfigError, match="absent"):
        Machine(config("/absent.raw"))


def test_a_machine_that_never_ran_closes_its_disks(image: Path, no_leak: None) -> None:
    Machine(config(os.fspath(image))).close()
    with Machine(config(os.fspath(image))):  # its lock is gone, too
        pass


def test_a_flat_image_is_given_no_words(image: Path) -> None:
    halt = MachineConfig(
        image=b"\xfa\xf4", protocol="flat", disks=[os.fspath(image)], serial="none", timeout=60
    )
    with Machine(halt) as machine:
        assert machine.run().reason == "halt"


def test_memory_stays_mapped_while_a_device_uses_it(image: Path) -> None:
    with Machine(config(os.fspath(image))) as machine:
        memory: GuestMemory = machine.memory
        machine.run()
        assert memory.read(0, 1)


class Keeping(Failing):
    """One that never answers."""

    def __init__(self) -> None:
        super().__init__(self.keep)
        self.kept: list[Chain] = []

    def keep(self, chain: Chain) -> Kept:
        self.kept.append(chain)
        return KEPT


@pytest.mark.parametrize("end", ["stop", "kill", "close", "timeout"])
def test_a_device_that_keeps_a_chain_for_ever_holds_up_no_pause_and_no_end(
    end: str, no_leak: None
) -> None:
    device = Keeping()
    made = MachineConfig(image="blk", serial="none", timeout=2 if end == "timeout" else 60)
    with Machine(made, virtio=[device]) as machine:
        machine.start()
        until(lambda: device.kept)
        for _ in range(3):
            machine.pause()
            machine.resume()
        if end == "stop":
            machine.stop(30)
        elif end == "kill":
            machine.kill()
        if end != "close":
            result = machine.wait(60)
            assert result is not None
            assert result.reason.startswith(end)
    assert device.closed
    with pytest.raises(ValueError, match="released"):
        device.kept[0].writable[0][0] = 1
