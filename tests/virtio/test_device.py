"""What a device of one's own gets from its base class."""

import pytest

from ringlet.virtio.device import VirtioDevice
from ringlet.virtio.queue import Chain

from ..until import until
from .driver import WRITE
from .rig import rig

pytestmark = pytest.mark.usefixtures("no_leak")


class Least(VirtioDevice):
    """A number and a method are enough."""

    device_id = 42

    def handle(self, queue: int, chain: Chain) -> int:
        chain.writable[0][:5] = b"hello"
        return 5


def test_a_number_and_a_method_make_a_device() -> None:
    with rig(Least()) as made:
        (queue,) = made.start()
        assert queue.request([(0x8000, 100, WRITE)]) == 5
        assert made.memory.read(0x8000, 6) == b"hello\0"


def test_it_has_one_queue_of_256_entries_and_no_features_and_no_configuration() -> None:
    with rig(Least()) as made:
        for number, size in enumerate((256, 0)):
            made.write(0x30, number)
            assert made.read(0x34) == size
        made.write(0x14, 0)
        assert made.read(0x10) & 0xFF_FFFF == 0
        assert made.read(0x100) == 0


def test_another_configuration_reaches_the_driver_and_before_a_transport_only_the_device() -> None:
    device = Least()
    device.change_config(b"early")
    assert device.config == b"early"
    with rig(device) as made:
        assert made.transport.read(0x100, 8) == int.from_bytes(b"early", "little")
        made.start()
        device.change_config(b"late")
        assert made.transport.read(0x100, 8) == int.from_bytes(b"late", "little")
        assert made.read(0x60) == 2


def test_a_device_without_a_method_says_so_with_its_first_chain() -> None:
    class Nothing(VirtioDevice):
        device_id = 42

    with rig(Nothing()) as made:
        (queue,) = made.start()
        queue.offer(queue.chain([(0x8000, 1, 0)]))
        queue.notify()
        until(lambda: made.errors)
        assert isinstance(made.errors.pop(), NotImplementedError)


def test_writes_to_the_configuration_resets_and_the_end_need_no_method() -> None:
    class Configured(Least):
        config = bytes(4)

    with rig(Configured()) as made:
        made.write(0x100, 0xFFFF_FFFF)
        assert made.read(0x100) == 0
        made.write(0x70, 0)


def test_a_device_knows_what_was_negotiated() -> None:
    class Choosing(Least):
        features = 1 << 2 | 1 << 3

    device = Choosing()
    with rig(device) as made:
        assert device.driver_features == 0
        made.start(1 << 32 | 1 << 3)
        assert device.driver_features == 1 << 32 | 1 << 3
        made.write(0x70, 0)
        assert device.driver_features == 0
