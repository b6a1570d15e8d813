"""The virtio console device, with several ports. Source: virtio 1.2, 5.3.

Each port has two queues (port.py), and two more queues carry control messages. The device keeps the
driver's buffers for input until there are bytes for them, and a buffer of output until the host's
reader takes it. So a reset and a pause wait for no reader and no writer of the host.
"""

from __future__ import annotations

import os
import select
import struct
from collections import deque
from contextlib import ExitStack
from functools import partial
from threading import Thread

from ringlet.host.descriptor import eventfds
from ringlet.host.thread import start_without_signals
from ringlet.virtio.device import KEPT, VirtioDevice
from ringlet.virtio.queue import DriverError, scatter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ringlet.virtio.device import DeviceQueue, Kept
    from ringlet.virtio.port import Port
    from ringlet.virtio.queue import Chain

VIRTIO_CONSOLE_F_SIZE = 1 << 0
VIRTIO_CONSOLE_F_MULTIPORT = 1 << 1

# Control messages (5.3.6.2): a port's number, an event and a value; the name follows PORT_NAME.
MESSAGE = struct.Struct("<IHH")
DEVICE_READY = 0
DEVICE_ADD = 1
PORT_READY = 3
CONSOLE_PORT = 4
RESIZE = 5
PORT_OPEN = 6
PORT_NAME = 7

_CONFIG = struct.Struct("<HHII")  # columns, rows, the number of ports, a byte in an emergency
_SIZE = struct.Struct("<HH")  # columns and rows, of RESIZE
_CONTROL_IN, _CONTROL_OUT = 2, 3


class Console(VirtioDevice):
    """A console with `ports`, at least one; `rows` and `columns` are the size of the terminals.

    A driver without VIRTIO_CONSOLE_F_MULTIPORT has the first port alone.
    """

    device_id = 3
    features = VIRTIO_CONSOLE_F_SIZE | VIRTIO_CONSOLE_F_MULTIPORT
    drains = True

    def __init__(self, ports: Sequence[Port], *, rows: int = 25, columns: int = 80) -> None:
        self.ports = ports
        self.queue_sizes = (64,) * (2 + 2 * len(ports))
        self.config = _CONFIG.pack(columns, rows, len(ports), 0)
        self._stack = ExitStack()  # of a run
        self._stopping = False
        (self._wake_fd,) = eventfds(0)
        self._forget()

    def _forget(self) -> None:
        self._control: DeviceQueue | None = None
        self._buffers: deque[Chain] = deque()  # for messages to the driver
        # The latest message of each kind: a driver that asks and never listens fills no memory.
        self._messages: dict[tuple[int, int], bytes] = {}

    @property
    def state(self) -> dict[str, Any]:
        """All that changes, as plain values."""
        messages = [[*key, text] for key, text in self._messages.copy().items()]
        return {"ports": [port.state for port in self.ports], "messages": messages}

    def resize(self, rows: int, columns: int) -> None:
        """Tells the guest of the terminals' new size; any signal handler may call this."""
        self.change_config(_CONFIG.pack(columns, rows, len(self.ports), 0))
        for number, port in enumerate(self.ports):
            if port.console:
                self._say(number, RESIZE, 0, _SIZE.pack(columns, rows))

    # Its life.

    def attach(self, queues: Sequence[DeviceQueue]) -> None:
        """Gives each port its queues."""
        super().attach(queues)
        for number, port in enumerate(self.ports):
            first = 2 + 2 * number if number else 0
            port.connect(queues[first], queues[first + 1], self._wake)

    def start(self) -> None:
        """Begins to read the host's input."""
        thread = Thread(target=self._run, name="ringlet-console", daemon=True)
        start_without_signals(thread)
        self._stack.callback(self._join, thread)
        for port in self.ports:
            self._stack.enter_context(port.source(port))

    def stop(self) -> None:
        """Ends the input and the output."""
        self._stack.close()

    def close(self) -> None:
        """Closes the descriptor that wakes the device's thread."""
        if self._wake_fd >= 0:
            wake_fd, self._wake_fd = self._wake_fd, -1
            os.close(wake_fd)

    def reset(self) -> None:
        """Forgets the driver."""
        self._forget()
        for port in self.ports:
            port.reset()

    def _join(self, thread: Thread) -> None:
        self._stopping = True
        self._wake()
        thread.join()

    def _wake(self) -> None:
        if self._wake_fd >= 0:
            os.eventfd_write(self._wake_fd, 1)

    def _run(self) -> None:
        """Does all that has to wait for the host or the driver."""
        while not self._stopping:
            waiting = select.poll()
            waiting.register(self._wake_fd, select.POLLIN)
            for port in self.ports:
                if (fd := port.watch()) is not None:
                    waiting.register(fd, select.POLLOUT)
            if self._wake_fd in dict(waiting.poll()):
                os.eventfd_read(self._wake_fd)
            self._send_messages()
            for port in self.ports:
                port.step()

    # The driver's requests.

    def handle(self, queue: int, chain: Chain) -> int | Kept:
        """Takes a buffer for input, output, or a control message."""
        if queue == _CONTROL_IN:
            self._buffers.append(chain)
            self._wake()
            return KEPT
        if queue == _CONTROL_OUT:
            self._obey(b"".join(bytes(part[: MESSAGE.size]) for part in chain.readable[:2]))
            return 0
        port = self.ports[queue // 2 - 1 if queue > 1 else 0]
        if queue % 2:
            return port.send(chain)
        if not self.driver_features & VIRTIO_CONSOLE_F_MULTIPORT and not port.opened:
            port.set_open(True)
        return port.add_buffer(chain)

    def _obey(self, message: bytes) -> None:
        if len(message) < MESSAGE.size:
            raise DriverError("a control message that is too short")
        number, event, value = MESSAGE.unpack_from(message)
        if event == DEVICE_READY and value == 1:
            for added in range(len(self.ports)):
                self._say(added, DEVICE_ADD, 1)
        elif number < len(self.ports):
            port = self.ports[number]
            if event == PORT_OPEN:
                port.set_open(value == 1)
            elif event == PORT_READY and value == 1:
                if port.console:
                    self._say(number, CONSOLE_PORT, 1)
                    self._say(number, RESIZE, 0, _resized(self.config))
                self._say(number, PORT_NAME, 1, port.name.encode() + b"\0")
                self._say(number, PORT_OPEN, 1)

    def _say(self, number: int, event: int, value: int, more: bytes = b"") -> None:
        self._messages[number, event] = MESSAGE.pack(number, event, value) + more
        self._wake()

    def _send_messages(self) -> None:
        while self._messages and self._buffers:
            try:
                chain, key = self._buffers.popleft(), next(iter(self._messages))
                message = self._messages.pop(key)
            except (IndexError, StopIteration, KeyError, RuntimeError):
                return  # a reset came between
            self.queues[_CONTROL_IN].complete(chain, partial(scatter, message, chain.writable))


def _resized(config: bytes) -> bytes:
    columns, rows, _, _ = _CONFIG.unpack(config)
    return _SIZE.pack(columns, rows)
