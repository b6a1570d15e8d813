"""Virtio over MMIO: the registers of a device, version 2. Source: virtio 1.2, 4.2 and 2.1.

KVM signals an eventfd (ioeventfd) when the driver writes to QueueNotify. The device signals
another eventfd (irqfd) to raise its interrupt. machine/virtio_slots.py connects both to KVM; this
file doesn't use KVM.
"""

from __future__ import annotations

import os
from threading import Lock

from ringlet.closing import Closing
from ringlet.host.descriptor import close_all, eventfds
from ringlet.virtio.device import (
    TRANSPORT_FEATURES,
    VIRTIO_F_EVENT_IDX,
    VIRTIO_F_VERSION_1,
)
from ringlet.virtio.queue import DriverError, Virtqueue
from ringlet.virtio.worker import CompletingQueue, Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ringlet.kvm.memory import GuestMemory
    from ringlet.virtio.device import (
        VirtioDevice,
    )

# Registers (4.2.2, table 4.1).
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
QUEUE_DESC = 0x080  # the lower half of the address; the upper one is the next register
QUEUE_DRIVER = 0x090
QUEUE_DEVICE = 0x0A0
SHM_LEN = 0x0B0
SHM_BASE = 0x0B8
CONFIG_GENERATION = 0x0FC
CONFIG = 0x100

# Device status (2.1).
ACKNOWLEDGE = 1
DRIVER = 2
DRIVER_OK = 4
FEATURES_OK = 8
DEVICE_NEEDS_RESET = 64
FAILED = 128

# Interrupt status.
USED_BUFFER = 1
CONFIG_CHANGE = 2

_CONSTANT = {
    MAGIC_VALUE: int.from_bytes(b"virt", "little"),
    VERSION: 2,
    VENDOR_ID: int.from_bytes(b"RNGL", "little"),
    # There is no shared memory: the length and the base of each region are -1.
    SHM_LEN: 0xFFFF_FFFF,
    SHM_LEN + 4: 0xFFFF_FFFF,
    SHM_BASE: 0xFFFF_FFFF,
    SHM_BASE + 4: 0xFFFF_FFFF,
}
_NAMES = {  # the registers' names in table 4.1
    MAGIC_VALUE: "MagicValue",
    VERSION: "Version",
    DEVICE_ID: "DeviceID",
    VENDOR_ID: "VendorID",
    DEVICE_FEATURES: "DeviceFeatures",
    DEVICE_FEATURES_SEL: "DeviceFeaturesSel",
    DRIVER_FEATURES: "DriverFeatures",
    DRIVER_FEATURES_SEL: "DriverFeaturesSel",
    QUEUE_SEL: "QueueSel",
    QUEUE_SIZE_MAX: "QueueSizeMax",
    QUEUE_SIZE: "QueueSize",
    QUEUE_READY: "QueueReady",
    QUEUE_NOTIFY: "QueueNotify",
    INTERRUPT_STATUS: "InterruptStatus",
    INTERRUPT_ACK: "InterruptACK",
    STATUS: "Status",
    QUEUE_DESC: "QueueDescLow",
    QUEUE_DESC + 4: "QueueDescHigh",
    QUEUE_DRIVER: "QueueDriverLow",
    QUEUE_DRIVER + 4: "QueueDriverHigh",
    QUEUE_DEVICE: "QueueDeviceLow",
    QUEUE_DEVICE + 4: "QueueDeviceHigh",
    SHM_LEN: "SHMLenLow",
    SHM_LEN + 4: "SHMLenHigh",
    SHM_BASE: "SHMBaseLow",
    SHM_BASE + 4: "SHMBaseHigh",
    CONFIG_GENERATION: "ConfigGeneration",
}
_RINGS = (QUEUE_DESC, QUEUE_DRIVER, QUEUE_DEVICE)


class _Setup:
    """The size and the addresses that the driver has set for a queue that isn't ready."""

    __slots__ = ("addresses", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.addresses = dict.fromkeys(_RINGS, 0)


class VirtioMmio(Closing):
    """The MMIO transport of `device`: its registers, its queues and the threads that serve them.

    notify_fd     the eventfd that a write to QueueNotify signals
    interrupt_fd  the eventfd that the transport signals for an interrupt

    A thread of the device calls `on_error` with an exception that the device raises. Closing the
    transport closes `device`. One vCPU at a time reads or writes a register.
    """

    def __init__(
        self, device: VirtioDevice, memory: GuestMemory, on_error: Callable[[BaseException], None]
    ) -> None:
        self.device = device
        self.notify_fd, self.interrupt_fd = eventfds(0, 0)
        self._queues = [Virtqueue(memory, size) for size in device.queue_sizes]
        self._worker = Worker(
            device,
            self._queues,
            self.notify_fd,
            interrupt=self._interrupt_for_used,
            on_driver_error=self._need_reset,
            on_error=on_error,
        )
        self._life = Lock()  # guards the next two, and the device's start, pauses and stop
        self._alive = False  # whether the device is started and not stopped
        self._pauses = 0
        try:
            device.attach([CompletingQueue(self._worker, queue) for queue in self._queues])
        except BaseException:
            close_all((self.notify_fd, self.interrupt_fd))
            raise
        self._features = device.features | TRANSPORT_FEATURES
        self._space = (0, device.config)  # generation and contents, which are replaced together
        self._space_lock = Lock()
        device.on_config_change = self._change_config
        device.on_error = on_error
        self._lock = Lock()  # guards the registers; the device's threads don't take this lock
        # The device's threads set each of these flags, and a vCPU clears it.
        self._used_buffer = False
        self._config_changed = False
        self._broken = False
        self._clear()

    def _clear(self) -> None:
        self._status = 0
        self._device_features_sel = 0
        self._driver_features_sel = 0
        self._driver_features = 0
        self._queue_sel = 0
        self._setups = [_Setup(queue.max_size) for queue in self._queues]
        self._used_buffer = self._config_changed = self._broken = False

    # The machine's side.

    @property
    def state(self) -> dict[str, Any]:
        """Everything that changes while the device runs, as plain values.

        The values are consistent while the device is quiesced. `device` is the device's own state.
        `kept` of a queue lists the chains that the device hasn't given back.
        """
        generation, config = self._space
        return {
            "status": self._status,
            "device_features_sel": self._device_features_sel,
            "driver_features_sel": self._driver_features_sel,
            "driver_features": self._driver_features,
            "queue_sel": self._queue_sel,
            "used_buffer": self._used_buffer,
            "config_changed": self._config_changed,
            "broken": self._broken,
            "config_generation": generation,
            "config": config,
            "queues": [
                {"size": setup.size, "addresses": list(setup.addresses.values()), **queue.state}
                for setup, queue in zip(self._setups, self._queues, strict=True)
            ],
            "device": self.device.state,
        }

    def start(self) -> None:
        """Begins to serve the driver. Raises `RingletError` if no thread can be started."""
        with self._life:
            self.device.start()
            self._alive = True
            if self._pauses:
                self.device.quiesce()
        self._worker.start()

    def quiesce(self) -> None:
        """Waits for the requests under way; no request begins before `resume`. Pauses nest."""
        with self._life:
            self._pauses += 1
            if self._alive and self._pauses == 1:
                self.device.quiesce()
        self._worker.pause()

    def resume(self) -> None:
        """Ends the pause that `quiesce` began."""
        self._worker.resume()
        with self._life:
            self._pauses -= 1
            if self._alive and not self._pauses:
                self.device.resume()

    def stop(self) -> None:
        """Waits for the requests under way, and serves no more. A second call does nothing."""
        self._worker.stop()
        with self._life:
            if self._alive:
                self._alive = False
                if self.device.drains:
                    self._worker.drain()
                self.device.stop()

    def close(self) -> None:
        """Stops and closes the device. A second call does nothing."""
        if self.notify_fd < 0:
            return
        self.stop()
        for queue in self._queues:
            queue.disable()
        self.device.close()
        os.close(self.notify_fd)
        os.close(self.interrupt_fd)
        self.notify_fd = self.interrupt_fd = -1

    # The device's side.

    def _interrupt_for_used(self) -> None:
        self._used_buffer = True
        os.eventfd_write(self.interrupt_fd, 1)

    def _interrupt_for_config(self) -> None:
        self._config_changed = True
        os.eventfd_write(self.interrupt_fd, 1)

    def _change_config(self) -> None:
        self._renew_space()
        if self._status & DRIVER_OK:
            self._interrupt_for_config()

    def _renew_space(self) -> None:
        with self._space_lock:
            generation, config = self._space
            if self.device.config != config:
                self._space = (generation + 1, self.device.config)

    def _need_reset(self) -> None:
        """Notes that the driver broke the rules (2.1.2), and interrupts it after DRIVER_OK."""
        self._broken = True
        if self._status & DRIVER_OK:
            self._interrupt_for_config()

    # The driver's side. All other registers read as 0, and ignore writes.

    def register_name(self, offset: int, write: bool) -> str:
        """Returns the name of the register."""
        if offset >= CONFIG:
            return f"Config+{offset - CONFIG:#x}"
        return _NAMES.get(offset, f"+{offset:#x}")

    def read(self, offset: int, size: int) -> int:
        """Returns the value that the driver reads."""
        if offset == INTERRUPT_STATUS:
            return self._used_buffer * USED_BUFFER | self._config_changed * CONFIG_CHANGE
        if offset >= CONFIG:
            _, config = self._space
            start = offset - CONFIG
            return int.from_bytes(config[start : start + size], "little")
        if size != 4:
            return 0
        with self._lock:
            return self._read(offset)

    def _read(self, offset: int) -> int:
        if offset in _CONSTANT:
            return _CONSTANT[offset]
        if offset == DEVICE_ID:
            return self.device.device_id
        if offset == STATUS:
            return self._status | self._broken * DEVICE_NEEDS_RESET
        if offset == DEVICE_FEATURES:
            return self._features >> 32 * self._device_features_sel & 0xFFFF_FFFF
        if offset == CONFIG_GENERATION:
            return self._space[0] & 0xFFFF_FFFF
        if self._queue_sel < len(self._queues):
            queue = self._queues[self._queue_sel]
            if offset == QUEUE_SIZE_MAX:
                return queue.max_size
            if offset == QUEUE_READY:
                return int(queue.ready)
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """Takes the value that the driver writes."""
        if offset == INTERRUPT_ACK:
            if value & USED_BUFFER:
                self._used_buffer = False
            if value & CONFIG_CHANGE:
                self._config_changed = False
        elif offset == QUEUE_NOTIFY:
            os.eventfd_write(self.notify_fd, 1)
        else:
            with self._lock:
                if offset >= CONFIG:
                    self._write_config(offset - CONFIG, value.to_bytes(8, "little")[:size])
                elif size == 4:
                    self._write(offset, value)

    def _write(self, offset: int, value: int) -> None:
        if offset == STATUS:
            self._write_status(value)
        elif offset == DEVICE_FEATURES_SEL:
            self._device_features_sel = value
        elif offset == DRIVER_FEATURES_SEL:
            self._driver_features_sel = value
        elif offset == DRIVER_FEATURES:
            if not self._status & FEATURES_OK and self._driver_features_sel < 2:
                shift = 32 * self._driver_features_sel
                self._driver_features &= ~(0xFFFF_FFFF << shift)
                self._driver_features |= value << shift
        elif offset == QUEUE_SEL:
            self._queue_sel = value
        elif self._queue_sel < len(self._queues):
            self._write_queue(self._queues[self._queue_sel], offset, value)

    def _write_queue(self, queue: Virtqueue, offset: int, value: int) -> None:
        setup = self._setups[self._queue_sel]
        if offset == QUEUE_READY:
            if value & 1 and not queue.ready and self._status & FEATURES_OK:
                self._enable(queue, setup)
            elif not value & 1 and queue.ready:
                self._worker.pause()
                queue.disable()
                self._worker.resume()
        elif queue.ready:
            return  # the queue's rings are in use
        elif offset == QUEUE_SIZE:
            setup.size = value
        elif offset & ~4 in _RINGS:
            ring, shift = offset & ~4, 8 * (offset & 4)
            setup.addresses[ring] &= ~(0xFFFF_FFFF << shift)
            setup.addresses[ring] |= value << shift

    def _enable(self, queue: Virtqueue, setup: _Setup) -> None:
        event_index = bool(self._driver_features & VIRTIO_F_EVENT_IDX)
        try:
            queue.enable(setup.size, *setup.addresses.values(), event_index=event_index)
        except DriverError:
            self._need_reset()
        os.eventfd_write(self.notify_fd, 1)  # chains may already wait in the queue

    def _write_status(self, value: int) -> None:
        if value == 0:
            self._reset()
            return
        # The driver sets the bits one after the other, and can only clear all bits at once.
        added = value & ~self._status & ~DEVICE_NEEDS_RESET
        if added & FEATURES_OK and not self._acceptable():
            added &= ~FEATURES_OK
        self._status |= added
        if added & FEATURES_OK:
            self.device.driver_features = self._driver_features
        if added & DRIVER_OK and self._status & FEATURES_OK and not self._broken:
            self._worker.pause()
            self._worker.serving = True
            self._worker.resume()

    def _acceptable(self) -> bool:
        wanted = self._driver_features
        return bool(wanted & VIRTIO_F_VERSION_1) and not wanted & ~self._features

    def _reset(self) -> None:
        self._worker.pause()
        self._worker.serving = False
        for queue in self._queues:
            queue.disable()
        self.device.driver_features = 0
        self.device.reset()
        self._renew_space()
        self._clear()
        self._worker.resume()

    def _write_config(self, start: int, data: bytes) -> None:
        if start + len(data) <= len(self._space[1]):
            self.device.write_config(start, data)
            self._renew_space()
