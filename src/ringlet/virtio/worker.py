"""The threads that do a virtio device's work, so that no vCPU waits for a disk.

The threads take turns as leader (Schmidt et al., "Leader/Followers", 2000). The leader waits for
the driver's notifications and handles chains. If a request may have to wait, another thread becomes
leader, and the old leader does the request. So several requests are in flight at once, and no
request moves from one thread to another.

No pause waits for a chain that the device keeps. When the device completes the chain, on any
thread, a pause waits until the chain is filled.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from threading import Condition, Lock, Thread, current_thread

from ringlet.errors import RingletError
from ringlet.host.thread import start_without_signals
from ringlet.virtio.device import Kept
from ringlet.virtio.queue import Chain, DriverError, Virtqueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ringlet.virtio.device import VirtioDevice

# The most threads that wait for the host at once. More threads were slower, because they take time
# from the vCPUs.
MAX_THREADS = 4
_BATCH = 8  # after at most this many chains, the driver sees the chains that are done

_Waiting = tuple[Virtqueue, Chain, Callable[[], int]]


class CompletingQueue:
    """A queue as the device uses it: the `DeviceQueue` of this worker."""

    def __init__(self, worker: Worker, queue: Virtqueue) -> None:
        self._worker = worker
        self._queue = queue

    def complete(self, chain: Chain, fill: Callable[[], int | Kept]) -> bool:
        """Completes a kept chain, as `DeviceQueue.complete` says."""

        def fill_one() -> tuple[int] | Kept:
            written = fill()
            return written if isinstance(written, Kept) else (written,)

        return self._worker.complete(self._queue, (chain,), fill_one)

    def complete_batch(self, chains: Sequence[Chain], fill: Callable[[], Sequence[int]]) -> bool:
        """Completes kept chains, as `DeviceQueue.complete_batch` says."""
        return self._worker.complete(self._queue, chains, fill)


class Worker:
    """Serves `queues` of `device` whenever the eventfd `notify_fd` is signalled.

    The worker calls these functions on its threads:

    interrupt        when the driver wants an interrupt
    on_driver_error  when the driver broke the specification; then the worker stops serving
    on_error         with an exception that the device raised; then the worker stops serving
    """

    def __init__(
        self,
        device: VirtioDevice,
        queues: list[Virtqueue],
        notify_fd: int,
        *,
        interrupt: Callable[[], None],
        on_driver_error: Callable[[], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        self._device = device
        self._queues = queues
        self._notify_fd = notify_fd
        self._interrupt = interrupt
        self._on_driver_error = on_driver_error
        self._on_error = on_error
        self.serving = False  # the transport changes this during a pause
        self._next = 0  # the queue to look at next, so that one slow queue doesn't block the others
        self._threads: list[Thread] = []
        lock = Lock()
        self._turn = Condition(lock)  # a thread may become leader, or has to stop
        self._quiet = Condition(lock)  # no request is under way
        self._open = Condition(lock)  # the pause is over: `complete` waits for this
        self._leading = False
        self._followers = 0
        self._waiting = 0  # threads that finish a request, or complete a chain
        self._pauses = 0
        self._stopping = False

    def start(self) -> None:
        """Starts the first thread. Raises `RingletError` if no thread can be started."""
        self._add_thread()

    def pause(self) -> None:
        """Waits until no request is under way; no request begins before `resume`. Pauses nest."""
        with self._turn:
            self._pauses += 1
            os.eventfd_write(self._notify_fd, 1)
            self._quiet.wait_for(lambda: not self._leading and not self._waiting)

    def resume(self) -> None:
        """Ends a pause, and looks at all queues."""
        with self._turn:
            self._pauses -= 1
            self._turn.notify()
            self._open.notify_all()

    def stop(self) -> None:
        """Waits for the requests under way, and ends the threads. A second call does nothing."""
        self.pause()
        with self._turn:
            self._stopping = True
            self._turn.notify_all()
            self._open.notify_all()
        for thread in self._threads:
            thread.join()

    def drain(self) -> None:
        """Handles, after `stop`, what the driver had offered before; what has to wait is lost."""
        self._pauses = 0
        for number, queue in enumerate(self._queues):
            if self.serving and queue.ready:
                self._guard(self._drain, number, queue)

    def complete(
        self,
        queue: Virtqueue,
        chains: Sequence[Chain],
        fill: Callable[[], Sequence[int] | Kept],
    ) -> bool:
        """Completes kept chains of `queue`, as `DeviceQueue.complete_batch` says."""
        with self._open:
            # A pause waits for the worker's threads, so these threads can't wait for its end.
            if current_thread() not in self._threads:
                self._open.wait_for(
                    lambda: self._stopping or not self._pauses or not queue.has(chains)
                )
            if self._stopping or not self.serving or not queue.claim(chains):
                return False
            self._waiting += 1
        self._guard(self._finish_kept, queue, chains, fill)
        with self._turn:
            self._waiting -= 1
            self._quiet.notify_all()
        return True

    def _add_thread(self) -> None:
        name = f"ringlet-virtio-{self._device.device_id}"
        thread = Thread(target=self._run, name=name, daemon=True)
        start_without_signals(thread)
        self._threads.append(thread)

    def _run(self) -> None:
        while self._become_leader():
            waiting = self._guard(self._lead)
            self._hand_over(waiting)
            if waiting is not None:
                self._guard(self._finish, *waiting)
                waiting = None  # or its views of guest memory would live as long as this thread
                with self._turn:
                    self._waiting -= 1
                    self._quiet.notify_all()

    def _guard(self, function: Callable[..., _Waiting | None], *arguments: Any) -> _Waiting | None:
        try:
            return function(*arguments)
        except DriverError:
            self.serving = False
            self._on_driver_error()
        except BaseException as error:
            from traceback import format_exception  # noqa: PLC0415 (for errors of a device alone)

            self.serving = False
            # The traceback's frames hold views of guest memory, which could then not be unmapped.
            # So the error keeps the text of the traceback only.
            error.add_note("".join(format_exception(error)))
            error.__traceback__ = error.__context__ = error.__cause__ = None
            self._on_error(error)
        return None

    def _become_leader(self) -> bool:
        with self._turn:
            self._followers += 1
            self._turn.wait_for(lambda: self._stopping or not (self._leading or self._pauses))
            self._followers -= 1
            self._leading = not self._stopping
            return self._leading

    def _hand_over(self, waiting: _Waiting | None) -> None:
        with self._turn:
            self._leading = False
            if waiting is not None:
                self._waiting += 1
                if self._followers:
                    self._turn.notify()
                elif len(self._threads) < MAX_THREADS and not self._stopping:
                    with suppress(RingletError):  # without the thread, fewer requests are in flight
                        self._add_thread()
            self._quiet.notify_all()

    def _lead(self) -> _Waiting | None:
        """Handles chains until a request may have to wait, or until a pause."""
        while not self._pauses:
            more = False
            if self.serving:
                for _ in self._queues:
                    number = self._next
                    self._next = (number + 1) % len(self._queues)
                    queue = self._queues[number]
                    if queue.ready:
                        waiting = self._drain(number, queue)
                        if waiting is not None:
                            return waiting
                        more = queue.arm() or more
            if not more:
                os.eventfd_read(self._notify_fd)
        return None

    def _drain(self, number: int, queue: Virtqueue) -> _Waiting | None:
        """Handles chains in `queue`, but not so many that the other queues have to wait long."""
        if self._device.batches:
            self._drain_batches(number, queue)
            return None
        handle = self._device.handle
        pending = 0
        for _ in range(queue.max_size):
            chain = None if self._pauses else queue.pop()
            if chain is None:
                break
            result = handle(number, chain)
            if isinstance(result, Kept):
                continue
            if not isinstance(result, int):
                self._publish(queue)
                return queue, chain, result
            queue.push(chain, result)
            pending += 1
            if pending == _BATCH:
                self._publish(queue)
                pending = 0
        self._publish(queue)
        return None

    def _drain_batches(self, number: int, queue: Virtqueue) -> None:
        """Does as `_drain` for a device that takes many chains at once."""
        left = queue.max_size
        while left > 0 and not self._pauses and (chains := queue.pop_batch()):
            left -= len(chains)
            written = self._device.handle_batch(number, chains)
            if not isinstance(written, Kept):
                queue.push_batch(chains, written)
                self._publish(queue)

    def _publish(self, queue: Virtqueue) -> None:
        if queue.publish():
            self._interrupt()

    def _finish(self, queue: Virtqueue, chain: Chain, work: Callable[[], int]) -> None:
        written = work()
        queue.push(chain, written)
        self._publish(queue)

    def _finish_kept(
        self,
        queue: Virtqueue,
        chains: Sequence[Chain],
        fill: Callable[[], Sequence[int] | Kept],
    ) -> None:
        written = fill()
        if isinstance(written, Kept):
            queue.keep(chains)
            return
        queue.push_batch(chains, written)
        self._publish(queue)
        for chain in chains:
            chain.release()
