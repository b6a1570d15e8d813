"""What a virtio device is to its transport. Source: virtio 1.2, 2 and 5."""

from __future__ import annotations

from typing import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final

    from ringlet.virtio.queue import Chain

VIRTIO_F_INDIRECT_DESC = 1 << 28
VIRTIO_F_EVENT_IDX = 1 << 29
VIRTIO_F_VERSION_1 = 1 << 32
TRANSPORT_FEATURES = VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1


class Kept:
    """The type of `KEPT`."""


KEPT: Final = Kept()  # the answer of a device that completes a chain later


class DeviceQueue(Protocol):
    """A queue as its device has it."""

    def complete(self, chain: Chain, fill: Callable[[], int]) -> bool:
        """Gives back a chain that was kept, once `fill` has written to it, from any thread.

        `fill` returns how many bytes it wrote, and waits for nothing that may not come: a reset and
        a pause wait for it. In a pause, this waits for the end of the pause. False where the chain
        is gone, by a reset or at the end: then `fill` isn't called.
        """
        ...


class VirtioDevice:
    """A device: these attributes and `handle`. A subclass is all that a new one needs.

    device_id    the type (5)
    features     its own feature bits that it offers, without those of the transport
    queue_sizes  the most entries of each of its queues, powers of two
    config       its configuration space, as the driver reads it
    state        all else that changes while it runs, as board/device.py says; None for nothing
    """

    device_id: int
    features: int = 0
    queue_sizes: Sequence[int] = (256,)
    config: bytes = b""
    state: Any = None

    driver_features: int = 0  # what was negotiated: the transport sets it
    on_config_change: Callable[[], None] | None = None  # so is this
    queues: Sequence[DeviceQueue] = ()

    # Its life, in this order, each but the pauses once. None of these has to be overridden.

    def attach(self, queues: Sequence[DeviceQueue]) -> None:
        """The device has a transport now, and on it these queues."""
        self.queues = queues

    def start(self) -> None:
        """The run begins: threads of the device's own may start."""

    def quiesce(self) -> None:
        """A pause begins: the device does nothing before `resume`, and waits for nobody else."""

    def resume(self) -> None:
        """The pause ends."""

    def stop(self) -> None:
        """The run ends: threads of the device's own end. No chain can be completed any more."""

    def close(self) -> None:
        """Closes what the device has opened."""

    # The driver.

    def handle(self, queue: int, chain: Chain) -> int | Callable[[], int] | Kept:
        """Does what the chain of queue number `queue` asks, on the device's thread.

        Returns how many bytes were written to its writable buffers, from their start. What has to
        wait for the host's disk is not done here: return a function that does it and returns that
        number. What may never come isn't waited for: return `KEPT`, and `complete` the chain when
        it comes. Raises `DriverError` where the driver broke the rules.
        """
        raise NotImplementedError

    def write_config(self, offset: int, data: bytes) -> None:
        """The driver writes to the configuration space, within it. Ignored if not overridden."""

    def reset(self) -> None:
        """Back to the state of before the driver. No chain is being handled, none is kept."""

    def change_config(self, config: bytes) -> None:
        """Another configuration space, of which the driver learns by an interrupt."""
        self.config = config
        if self.on_config_change is not None:
            self.on_config_change()
