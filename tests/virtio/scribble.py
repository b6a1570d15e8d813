"""Writes to guest memory while the device reads it: a process, so that it does so at the same time.

Called with a descriptor of the memory and the range: `scribble.py FD START END`. It writes while
the first byte of the memory isn't zero, and ends with its parent.
"""

import ctypes
import mmap
import os
import random
import signal
import sys
import time

PR_SET_PDEATHSIG = 1


def main() -> None:
    fd, start, end = map(int, sys.argv[1:])
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    words = [word.to_bytes(2, "little") for word in (0, 1, 2, 3, 4, 5, 7, 16, 512, 0x8000, 0xFFFF)]
    with mmap.mmap(fd, 0) as memory:
        while os.getppid() != 1:
            if not memory[0]:
                time.sleep(0.0002)
                continue
            for _ in range(200):
                at = random.randrange(start, end, 2)
                memory[at : at + 2] = random.choice(words)


if __name__ == "__main__":
    main()
