"""Reads the kernel's information on a process.

Source: proc_pid_stat(5).
"""

from __future__ import annotations


def read_stat(pid: int | str) -> list[bytes]:
    """Returns the fields of /proc/PID/stat from the third on: state, parent, ...

    Raises `FileNotFoundError` or `ProcessLookupError` if there is no such process.
    """
    with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
        # The second field, the name in brackets, may hold any byte, also spaces and brackets.
        return file.read(4096).rpartition(b")")[2].split()
