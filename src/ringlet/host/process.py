"""What the kernel tells of a process.

Source: proc_pid_stat(5).
"""

from __future__ import annotations


def read_stat(pid: int | str) -> list[bytes]:
    """The fields of /proc/PID/stat from the third on: state, parent, ...

    Raises `FileNotFoundError` or `ProcessLookupError` where there is no such process.
    """
    with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
        # The second, the name in brackets, may hold anything, also spaces and brackets.
        return file.read(4096).rpartition(b")")[2].split()
