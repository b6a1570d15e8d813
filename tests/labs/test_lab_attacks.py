"""Work that attacks what a lab's own grader relies on: the pipe of lab 7, the tables of lab 6."""

import os
import shutil
from pathlib import Path

import pytest

from ringlet.labs.catalog import find_lab
from ringlet.labs.grade import judge
from ringlet.labs.host import Host
from ringlet.labs.lab06_rings.checks import _user_pages
from ringlet.labs.lab06_rings.programs import make_jobs
from ringlet.labs.lab09_break_out.checks import _beginning
from ringlet.labs.work import read_files

SOLUTIONS = Path(__file__).parent / "solutions"


def seen(number: int, name: str, text: str, check: int, tmp_path: Path) -> str:
    """What the grader says of one check, where `name` has `text` in place of the reference."""
    lab = find_lab(number)
    folder = shutil.copytree(SOLUTIONS / lab.place.name / "reference", tmp_path / "work")
    (folder / name).write_text(text)
    checks, notes = {check: lab.checks()[check]}, list[str]()
    files = read_files(folder, lab.files)
    ((_, verdict),) = judge(checks, files, Host(), lambda number: None, notes)
    assert notes == []
    assert not verdict.passed
    return verdict.seen


DEVICE = """
import os, time
class Disk:
    def __init__(self, memory, interrupt, content):
        self.memory, self.interrupt = memory, interrupt
    def read(self, offset):
        {read}
        return 0
    def write(self, offset, value):
        {write}
"""


@pytest.mark.slow
@pytest.mark.needs_kvm
@pytest.mark.needs_root
@pytest.mark.parametrize(
    ("read", "write", "expected"),
    [
        ("os._exit(3)", "pass", "the device ended: it ended with status 3"),
        ("time.sleep(100)", "pass", "the device didn't come back from an access"),
        ("os.write(3, b'nonsense\\n')", "pass", "sent something else than accesses"),
        ("os.write(3, b'put 0 zz\\n')", "pass", "sent something else than accesses"),
        ("os.write(3, b'done -1\\n')", "pass", "a negative number"),
        ("os.write(3, b'done ' + b'9' * 40 + b'\\n')", "pass", "a negative number"),
        ("self.memory.read(-1, 5)", "pass", "a negative number"),
        ("self.memory.read(1 << 63, 1 << 40)", "pass", "the device ended: IndexError: "),
        ("os.write(3, b'x' * 100000)", "pass", "it wrote more than 65536 bytes"),
        ("print('done 1953655158')", "pass", "MagicValue (at 0x000) is 0x0"),
        ("while True: self.interrupt()", "pass", "the device didn't come back from an access"),
    ],
)
def test_a_hostile_device_gets_a_clear_result(
    read: str, write: str, expected: str, tmp_path: Path
) -> None:
    code = DEVICE.format(read=read, write=write)
    assert expected in seen(7, "device.py", code, 0, tmp_path)


@pytest.mark.slow
@pytest.mark.needs_kvm
@pytest.mark.needs_root
@pytest.mark.parametrize(
    ("read", "expected"),
    [
        ("os._exit(3)", "the device ended: it ended with status 3"),
        ("self.memory.write(0x100000, bytes(4096))", "the guest's driver ended with status"),
    ],
)
def test_a_hostile_device_in_a_machine_gets_a_clear_result(
    read: str, expected: str, tmp_path: Path
) -> None:
    code = DEVICE.format(read=read, write="pass")
    assert expected in seen(7, "device.py", code, 6, tmp_path)


def test_page_tables_that_lead_in_circles_are_walked_once() -> None:
    memory = bytearray(1 << 20)
    # Each entry of the first table leads to the first table.
    memory[0x1000:0x2000] = (0x1007).to_bytes(8, "little") * 512
    pages = _user_pages(bytes(memory), 0x1000, 39, 0, set())
    assert len(pages) == 512  # as pages of 4 KiB, once


@pytest.mark.needs_root
@pytest.mark.needs_gcc
def test_no_two_gradings_have_the_same_programs_and_no_program_puts_a_byte_twice() -> None:
    first, second = make_jobs(60), make_jobs(60)
    jobs = [first.ring, first.calls, *first.faults, first.write, first.threads, first.registers]
    for job in jobs:
        assert len(set(job.output)) == len(job.output)
    assert first.calls.code != second.calls.code
    assert first.calls.output != second.calls.output


def test_of_what_is_no_file_nothing_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert _beginning(str(tmp_path / "pipe")) == b""
    assert _beginning("/dev/zero") == b""
    (tmp_path / "file").write_bytes(b"secret" * 100)
    assert _beginning(str(tmp_path / "file")).startswith(b"secret")
