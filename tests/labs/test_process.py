"""What is told of a process: of this process, and of one that has ended."""

import mmap
import os
import secrets
import subprocess

import pytest

from ringlet.labs import process


@pytest.fixture
def ended() -> int:
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def test_descriptors_and_memory_of_this_process() -> None:
    tag = secrets.token_bytes(16)
    memory = mmap.mmap(-1, 1 << 16)
    memory[0x1000 : 0x1000 + len(tag)] = tag
    found = process.find_all(os.getpid(), tag)
    assert len(found) >= 2  # in the mapping, and the object itself
    for address in found:
        assert process.read_memory(os.getpid(), address, 16) == tag
    with open(__file__):
        assert __file__ in process.descriptors(os.getpid())
    memory.close()


def test_namespaces_mounts_and_status_of_this_process() -> None:
    assert process.namespaces(os.getpid())["pid"] == os.readlink("/proc/self/ns/pid")
    assert any((mount.at, mount.kind) == ("/proc", "proc") for mount in process.mounts(os.getpid()))
    assert process.status(os.getpid())["Pid"] == str(os.getpid())
    device = os.stat("/").st_dev
    assert process.device_of_root(os.getpid()) == f"{os.major(device)}:{os.minor(device)}"


def test_descendants_are_found_by_their_command() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 100 & wait"]) as child:
        try:
            while ["sleep", "100"] not in (
                commands := [process.command_line(pid) for pid in process.descendants(child.pid)]
            ):
                assert child.poll() is None
            assert commands[0] == ["sh", "-c", "sleep 100 & wait"]
        finally:
            for pid in process.descendants(child.pid):
                os.kill(pid, 9)


def test_of_a_process_that_has_ended_nothing_is_told(ended: int) -> None:
    assert process.descriptors(ended) == []
    assert list(process.mappings(ended)) == []
    assert process.read_memory(ended, 0, 8) == b""
    assert process.last_exit(ended) is None
    assert process.find_all(ended, b"x") == []
    assert process.namespaces(ended) == {}
    assert process.status(ended) == {}
    assert process.mounts(ended) == []
    assert process.command_line(ended) == []
    with pytest.raises(OSError, match="can't be joined"):
        process.look_inside(ended)


def test_memory_that_cannot_be_read_is_no_bytes() -> None:
    assert process.read_memory(os.getpid(), 0, 8) == b""
    assert process.last_exit(os.getpid()) is None
