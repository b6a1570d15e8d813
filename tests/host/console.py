"""A serial line on this terminal with a guest's keys as commands: the job of `shell.py`.

    console.py [deaf] REPORTS

Reports `ready`, `key HEX` for what the guest receives, `break`. A deaf guest takes nothing. The
key s crashes with SIGSEGV, a with abort(), e with an exception; n and t print; SIGTERM exits
as the command line does, by an exception on the main thread.
"""

import contextlib
import ctypes
import os
import queue
import resource
import signal
import sys
from types import FrameType

from ringlet.host.serial import open_serial

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
*options, reports = sys.argv[1:]
keys: queue.SimpleQueue[bytes] = queue.SimpleQueue()


def report(line: str) -> None:
    os.write(int(reports), line.encode() + b"\n")


class Guest:
    def __init__(self) -> None:
        self.on_room = lambda: None
        self.room = 0 if "deaf" in options else 16

    def receive(self, data: bytes) -> int:
        if self.room:
            keys.put(data)
        return len(data) if self.room else 0

    def receive_break(self) -> None:
        report("break")


def terminate(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, terminate)

with contextlib.ExitStack() as stack:
    host = stack.enter_context(
        open_serial("stdio", stop_fd=os.eventfd(0), on_quit=lambda: keys.put(b"quit"))
    )
    host.start(Guest())
    report("ready")
    while (key := keys.get()) != b"quit":
        report(f"key {key.hex()}")
        if key == b"s":
            ctypes.string_at(0)
        elif key == b"a":
            os.abort()
        elif key == b"e":
            raise ValueError("a bug")
        elif key == b"n":
            host.transmit(b"one\ntwo\n")
