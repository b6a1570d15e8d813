"""Follows processes from system call to system call, by ptrace; doesn't say what the calls mean.

All threads and processes that a traced process makes are traced, too. The kernel ties a tracee to
the thread that traces it, so a `Tracees` object lives on one thread. A thread id can't be used
again while its tracee is known here: the kernel keeps an ended tracee until this tracer takes its
status.

Source: ptrace(2), waitid(2); Linux, include/uapi/linux/audit.h (architectures), ptrace.h.
"""

from __future__ import annotations

import errno
import os
import time

from ringlet.errors import RingletError
from ringlet.kvm.core import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Observer(Protocol):
        """Is told of each system call. While it is told, the thread that makes the call waits."""

        def begin(self, call: Call) -> None:
            """A call begins."""

        def end(self, call: Call, time: int, result: int | None, is_error: bool) -> None:
            """A call is over at `time`; without a result, since its thread has ended in it."""


EXECVE, EXECVEAT = 59, 322  # on x86-64
SIGSYS = 31
X86_64, I386 = 0xC000003E, 0x40000003
X32_BIT = 0x40000000  # of a number: an x32 call

_MOST = 64  # stops that are taken at once
_BLOCK_MAX = 64 << 10  # bytes that the C core reads at once


class TraceError(RingletError):
    """A process can't be traced."""


class Call:
    """A system call that has begun: by which thread, its number and its arguments, when.

    `words` is for the observer: what it has found at the begin of the call, and needs at the end.
    """

    __slots__ = ("architecture", "arguments", "child", "number", "thread", "time", "words")

    def __init__(self, thread: Thread, stop: Any) -> None:
        self.thread = thread
        self.time: int = stop.time  # CLOCK_MONOTONIC in nanoseconds
        self.architecture: int = stop.architecture
        self.number: int = stop.number
        self.arguments: list[int] = ffi.unpack(stop.arguments, 6)
        self.child = False  # a traced thread or process was made by this call
        self.words: Any = None


class Thread:
    """A traced thread; `id` is the host's.

    `inside` and `process` are the ids of the thread and its process in the PID namespace below this
    process's own, which is the container's; 0 where they aren't known.
    """

    __slots__ = ("_ids", "call", "id", "over")

    def __init__(self, id: int) -> None:
        self.id = id
        self.call: Call | None = None  # in which the thread is
        self.over: tuple[Call, int, int] | None = None  # a call, its end, and its doubtful result
        self._ids: tuple[int, int] | None = None

    @property
    def inside(self) -> int:
        """The thread's id in the container."""
        return self._find()[0]

    @property
    def process(self) -> int:
        """The id in the container of the process that the thread belongs to."""
        return self._find()[1]

    def _find(self) -> tuple[int, int]:
        ids = self._ids
        if ids is None:
            ids = self._ids = _ids_inside(self.id)
        return ids

    def read(self, address: int, size: int) -> bytes:
        """Reads memory of the stopped thread, as much of `size` bytes as there is."""
        size = min(size, _BLOCK_MAX)
        buffer = ffi.new("char[]", size) if size > len(_buffer) else _buffer
        count = lib.ringlet_trace_read(self.id, address & 0xFFFFFFFFFFFFFFFF, buffer, size)
        return bytes(ffi.buffer(buffer, count)) if count > 0 else b""


_buffer = ffi.new("char[]", 4096)  # tracees are read by one thread


def _ids_inside(thread: int) -> tuple[int, int]:
    """Reads the ids of a thread and its process; each line has them from /proc's own downwards."""
    found = {b"NSpid:": 0, b"NStgid:": 0}
    try:
        with open(f"/proc/{thread}/status", "rb") as file:
            for line in file:
                name, _, ids = line.partition(b"\t")
                if name in found:
                    every = ids.split()
                    found[name] = int(every[min(1, len(every) - 1)])
    except OSError:  # the thread has been killed, or there is no /proc
        pass
    return found[b"NSpid:"], found[b"NStgid:"]


class Tracees:
    """The traced threads. `process` is the one that is seized, and its end is the trace's.

    With `from_exec`, calls count from the next execve on, that call included. With `kill`, the
    processes are killed if the calling thread ends before they do; else call `detach` before that.
    Raises `TraceError`.
    """

    def __init__(
        self, process: int, observer: Observer, *, from_exec: bool = False, kill: bool = False
    ) -> None:
        self._process = process
        self._observer = observer
        self._began = not from_exec
        self._threads: dict[int, Thread] = {}
        self._stops = ffi.new("struct ringlet_stop[]", _MOST)
        self.unfollowed = 0  # processes that were made with CLONE_UNTRACED
        result = lib.ringlet_trace_seize(process, kill)
        if result < 0:
            raise TraceError(
                f"process {process} can't be traced: {os.strerror(-result)}",
                "another tracer may have it already; or allow ptrace: be root, or look at "
                "/proc/sys/kernel/yama/ptrace_scope",
            )

    def step(self, *, block: bool = True) -> bool:
        """Handles the stops that there are; with `block`, waits for one.

        Returns False when the process has ended. Its exit status stays for its parent.
        """
        stops = self._stops
        most = _MOST if len(self._threads) > 1 else 1  # to look for more takes time
        count = lib.ringlet_trace_wait(self._process, block, stops, most)
        if count < 0:
            if count != -errno.ECHILD:
                raise TraceError(
                    f"the trace has failed: {os.strerror(-count)}",
                    "it takes Linux 5.3 or later (PTRACE_GET_SYSCALL_INFO)",
                )
            self._end_all()
            return False
        resume = lib.ringlet_trace_resume
        going_on = True
        for at in range(count):
            stop = stops[at]
            kind = stop.kind
            thread = self._threads.get(stop.thread)
            if thread is None:
                thread = self._threads[stop.thread] = Thread(stop.thread)
            if thread.over is not None:
                self._settle(thread, is_refused=kind == _END or stop.signal == SIGSYS)
            if kind == _ENTRY:
                self._on_entry(thread, stop)
            elif kind == _RESULT:
                self._on_result(thread, stop)
            elif kind == _END:
                self._on_end(thread, stop.time)
                going_on = going_on and stop.thread != self._process
                continue
            elif kind == _EXEC:
                thread = self._on_exec(thread, stop)
            elif kind == _CHILD and thread.call is not None:
                thread.call.child = True
            signal = stop.signal if kind == _SIGNAL else 0
            # A thread that was killed meanwhile isn't there: its end is the next that is heard.
            resume(stop.thread, _LISTEN if kind == _GROUP else _TO_CALL, signal)
        if not going_on:
            self._end_all()
        return going_on

    def detach(self) -> None:
        """Lets all go on untraced. Without this call, the kernel would do so in the wrong way.

        A thread that is stopped when its tracer ends may get the stop as a signal.
        """
        for id in self._threads:
            lib.ringlet_trace_interrupt(id)
        stops = self._stops
        while self._threads:
            count = lib.ringlet_trace_wait(self._process, True, stops, _MOST)
            if count < 0:  # none is left
                return
            for at in range(count):
                stop = stops[at]
                self._threads.pop(stop.thread, None)
                if stop.kind == _CHILD:  # is traced, and stops as soon as it begins
                    self._threads.setdefault(stop.other, Thread(stop.other))
                if stop.kind == _END and stop.thread == self._process:
                    return
                signal = stop.signal if stop.kind == _SIGNAL else 0
                lib.ringlet_trace_resume(stop.thread, _DETACH, signal)

    def _on_entry(self, thread: Thread, stop: Any) -> None:
        thread.call = call = Call(thread, stop)
        if self._began or (call.architecture == X86_64 and call.number in (EXECVE, EXECVEAT)):
            self._observer.begin(call)

    def _on_result(self, thread: Thread, stop: Any) -> None:
        call, thread.call = thread.call, None
        if call is None:  # it began before the trace
            return
        if not self._began:
            return
        result = stop.result
        if _makes_a_process(call) and result > 0 and not call.child and not stop.is_error:
            self.unfollowed += 1
        if result == call.number:
            thread.over = (call, stop.time, result)
        else:
            self._observer.end(call, stop.time, result, bool(stop.is_error))

    def _settle(self, thread: Thread, *, is_refused: bool) -> None:
        """Ends a call whose result is the call's own number.

        A seccomp filter that kills, or sends SIGSYS, leaves the number where the result would be.
        So the result counts once the thread has gone on.
        """
        assert thread.over is not None
        (call, at, result), thread.over = thread.over, None
        self._observer.end(call, at, None if is_refused else result, False)

    def _on_exec(self, thread: Thread, stop: Any) -> Thread:
        """A program was started by the thread `other`, which now has the id of its process.

        The thread that had this id has ended, as have all others of the process.
        """
        self._began = True
        if stop.other != thread.id:
            before = self._threads.pop(stop.other, thread)
            self._on_end(thread, stop.time)
            thread = self._threads[stop.thread] = Thread(stop.thread)
            thread.call = before.call  # execve
            if thread.call is not None:
                thread.call.thread = thread
        return thread

    def _on_end(self, thread: Thread, at: int) -> None:
        self._threads.pop(thread.id, None)
        if thread.call is not None and self._began:
            self._observer.end(thread.call, at, None, False)

    def _end_all(self) -> None:
        """Ends what is left: the process's parent may have taken its status before this tracer."""
        now = time.monotonic_ns()
        for thread in list(self._threads.values()):
            if thread.over is not None:
                self._settle(thread, is_refused=True)
            self._on_end(thread, now)


_MAKERS = {X86_64: {56, 57, 58, 435}, I386: {2, 120, 190, 435}}  # clone, fork, vfork, clone3


def _makes_a_process(call: Call) -> bool:
    return call.number & ~X32_BIT in _MAKERS.get(call.architecture, ())


_TO_CALL = lib.RINGLET_RESUME_TO_CALL
_LISTEN = lib.RINGLET_RESUME_LISTEN
_DETACH = lib.RINGLET_RESUME_DETACH
_ENTRY = lib.RINGLET_STOP_ENTRY
_RESULT = lib.RINGLET_STOP_RESULT
_SIGNAL = lib.RINGLET_STOP_SIGNAL
_GROUP = lib.RINGLET_STOP_GROUP
_CHILD = lib.RINGLET_STOP_CHILD
_EXEC = lib.RINGLET_STOP_EXEC
_END = lib.RINGLET_STOP_END
