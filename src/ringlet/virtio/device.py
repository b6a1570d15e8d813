"""What a virtio device is to its transport. Source: virtio 1.2, 2 and 5."""

from collections.abc import Callable, Sequence

from ringlet.virtio.queue import Chain

VIRTIO_F_INDIRECT_DESC = 1 << 28
VIRTIO_F_EVENT_IDX = 1 << 29
VIRTIO_F_VERSION_1 = 1 << 32
TRANSPORT_FEATURES = VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1


class VirtioDevice:
    """A device: these attributes and `handle`. A subclass is all that a new one needs.

    device_id    the type (5)
    features     its own feature bits that it offers, without those of the transport
    queue_sizes  the most entries of each of its queues, powers of two
    config       its configuration space, as the driver reads it
    """

    device_id: int
    features: int = 0
    queue_sizes: Sequence[int] = (256,)
    config: bytes = b""

    driver_features: int = 0  # what was negotiated: the transport sets it
    on_config_change: Callable[[], None] | None = None  # so is this

    def handle(self, queue: int, chain: Chain) -> int | Callable[[], int]:
        """Does what the chain of queue number `queue` asks, on the device's thread.

        Returns how many bytes were written to its writable buffers, from their start. What may
        wait is not done here: return a function that does it and returns that number. Raises
        `DriverError` where the driver broke the rules.
        """
        raise NotImplementedError

    def write_config(self, offset: int, data: bytes) -> None:
        """The driver writes to the configuration space, within it. Ignored if not overridden."""

    def reset(self) -> None:
        """Back to the state of before the driver. No chain is being handled."""

    def change_config(self, config: bytes) -> None:
        """Another configuration space, of which the driver learns by an interrupt."""
        self.config = config
        if self.on_config_change is not None:
            self.on_config_change()

    def close(self) -> None:
        """Closes what the device has opened."""
