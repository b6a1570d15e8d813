"""The interface between a virtio device and its transport. Source: virtio 1.2, 2 and 5."""

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


KEPT: Final = Kept()  # `handle` returns KEPT if the device completes the chain later


class DeviceQueue(Protocol):
    """A queue as its device uses it."""

    def complete(self, chain: Chain, fill: Callable[[], int | Kept]) -> bool:
        """Calls `fill` to use the buffers of a kept chain, and gives the chain back to the driver.

        Any thread may call `complete`. `fill` returns how many bytes it wrote to the chain, or
        `KEPT` if the chain isn't finished: then the queue keeps the chain. `fill` must not wait
        for an event that may never come, because a reset and a pause wait for `fill`. In a pause,
        `complete` waits for the end of the pause. If a reset or the end of the run has taken the
        chain away, `complete` returns False and doesn't call `fill`.
        """
        ...

    def complete_batch(self, chains: Sequence[Chain], fill: Callable[[], Sequence[int]]) -> bool:
        """Completes several kept chains as `complete` does, and shows them to the driver together.

        `fill` returns how many bytes it wrote to each chain.
        """
        ...


class VirtioDevice:
    """A virtio device. A new device is a subclass with these attributes and `handle`.

    device_id    the device type (5)
    features     the feature bits that the device offers, without the transport's feature bits
    queue_sizes  the maximum size of each queue, a power of two
    config       the configuration space, as the driver reads it
    batches      whether the device overrides `handle_batch` and not `handle`
    drains       whether the device handles, at the end of a run, the chains that the driver had
                 offered before; what a guest wrote just before its end isn't lost then
    state        everything else that changes while the device runs, as board/device.py says; None
                 if nothing changes
    """

    device_id: int
    features: int = 0
    queue_sizes: Sequence[int] = (256,)
    config: bytes = b""
    batches: bool = False
    drains: bool = False
    state: Any = None

    driver_features: int = 0  # the negotiated feature bits: the transport sets them
    on_config_change: Callable[[], None] | None = None  # the transport sets this, too
    # And this one, which a device's own thread calls with an exception that ends the run.
    on_error: Callable[[BaseException], None] | None = None
    queues: Sequence[DeviceQueue] = ()

    # The life of a device. The transport calls these methods once each and in this order, but
    # `quiesce` and `resume` for every pause. A subclass need not override any of them.

    def attach(self, queues: Sequence[DeviceQueue]) -> None:
        """Gives the device the queues of its transport."""
        self.queues = queues

    def start(self) -> None:
        """Begins the run: the device may start its own threads."""

    def quiesce(self) -> None:
        """Begins a pause: the device does nothing before `resume`.

        This method waits for no other device and no thread outside this device.
        """

    def resume(self) -> None:
        """Ends the pause."""

    def stop(self) -> None:
        """Ends the run and the device's own threads. No chain can be completed any more."""

    def close(self) -> None:
        """Closes everything that the device has opened."""

    # The driver's requests.

    def handle(self, queue: int, chain: Chain) -> int | Callable[[], int] | Kept:
        """Does the request in a chain of queue number `queue`, on the device's thread.

        Returns how many bytes were written to the writable buffers, from their start. If the
        request has to wait for the host's disk, returns a function that does the request and
        returns that number. If the request waits for an event that may never come, returns `KEPT`;
        the device calls `complete` when the event comes. Raises `DriverError` if the driver broke
        the specification.
        """
        raise NotImplementedError

    def handle_batch(self, queue: int, chains: Sequence[Chain]) -> Sequence[int] | Kept:
        """Does the requests in all these chains, as `handle` does one.

        Returns how many bytes were written to each chain, or `KEPT` if the device completes all
        of them later.
        """
        raise NotImplementedError

    def write_config(self, offset: int, data: bytes) -> None:
        """Takes a driver's write to the configuration space, inside its bounds.

        A subclass that doesn't override this method ignores the write.
        """

    def reset(self) -> None:
        """Sets the device back to the state in which a driver first finds it.

        During a reset, the device handles no chain and keeps no chain.
        """

    def change_config(self, config: bytes) -> None:
        """Replaces the configuration space, and tells the driver by an interrupt."""
        self.config = config
        if self.on_config_change is not None:
            self.on_config_change()
