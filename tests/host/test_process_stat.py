import ctypes
import os
import subprocess

import pytest

from ringlet.host.process_stat import read_stat

PR_SET_NAME = 15


def test_state_and_parent_are_the_first_of_its_fields() -> None:
    with subprocess.Popen(["sleep", "100"]) as child:
        fields = read_stat(child.pid)
        child.kill()
    assert int(fields[1]) == os.getpid()
    assert read_stat("self")[0] == b"R"


def test_a_name_may_look_like_fields() -> None:
    libc = ctypes.CDLL(None)
    with open("/proc/self/comm", "rb") as file:
        before = file.read().rstrip()
    libc.prctl(PR_SET_NAME, b") Z 1 (x)", 0, 0, 0)
    try:
        assert int(read_stat(os.getpid())[1]) == os.getppid()
    finally:
        libc.prctl(PR_SET_NAME, before, 0, 0, 0)


def test_one_that_isnt_there_is_not_found() -> None:
    with pytest.raises(FileNotFoundError):
        read_stat(1 << 30)
