import mmap
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ringlet.compare.instances.footprint import available, footprint, kvm_page_tables

MIB = 1 << 20
SIZE = 48 * MIB

# Maps SIZE bytes (of a file where there is one), has each page there, and forks so many children.
PROGRAM = """
import mmap, os, sys
size, path, forks = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
if path:
    memory = mmap.mmap(os.open(path, os.O_RDONLY), size, mmap.MAP_SHARED, mmap.PROT_READ)
    for page in range(0, size, 4096):
        memory[page]
else:
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(0, size, 4096):
        memory[page] = 1
for _ in range(forks):
    if os.fork() == 0:
        os.read(0, 1)
        os._exit(0)
print("there", flush=True)
os.read(0, 1)
"""


@contextmanager
def _program(size: int, path: str = "", forks: int = 0) -> Iterator[list[int]]:
    command = [sys.executable, "-I", "-S", "-c", PROGRAM, str(size), path, str(forks)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        children = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
        try:
            yield [program.pid, *map(int, children)]
        finally:
            assert program.stdin is not None
            program.stdin.close()


def test_memory_that_was_touched_is_resident() -> None:
    with _program(4096) as small, _program(SIZE) as large:
        more = footprint(large).resident - footprint(small).resident
    assert abs(more - SIZE) < MIB


def test_a_page_that_forked_processes_share_is_there_once() -> None:
    with _program(SIZE, forks=4) as family:
        assert len(family) == 5
        assert SIZE < footprint(family).resident < 2 * SIZE


def test_a_files_page_is_there_once_and_whole_whoever_else_maps_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(SIZE))
    with (
        _program(4096) as small,
        _program(SIZE, str(path)) as one,
        _program(SIZE, str(path)) as two,
    ):
        alone = footprint(one).resident - footprint(small).resident
        assert abs(alone - SIZE) < MIB
        both = footprint([*one, *two]).resident
        assert SIZE < both < SIZE * 3 // 2


def test_page_tables_grow_with_what_is_mapped() -> None:
    with _program(4096) as small, _program(SIZE) as large:
        more = footprint(large).page_tables - footprint(small).page_tables
    # Their mappings lie at random, which takes some tables more or fewer.
    assert abs(more - SIZE // mmap.PAGESIZE * 8) < 8 * mmap.PAGESIZE


def test_a_process_that_is_gone_has_nothing() -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    assert footprint([gone.pid]) == (0, 0)


def _is_taken_and_comes_back(size: int) -> bool:
    for _ in range(2):  # the second time from the lists of each CPU
        before = available()
        with _program(size):
            taken = before - available()
        time.sleep(0.1)
        if not (size // 2 < taken < 2 * size and abs(before - available()) < size // 2):
            return False
    return True


def test_what_a_process_takes_isnt_available_and_comes_back() -> None:
    # Other programs of the host, such as other tests, take and give memory meanwhile.
    assert any(_is_taken_and_comes_back(256 * MIB) for _ in range(10))


def test_available_is_within_the_hosts_memory() -> None:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < available() <= total
    assert 0 <= kvm_page_tables() < total
