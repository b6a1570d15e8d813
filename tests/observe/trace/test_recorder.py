"""The recorder: nothing is lost in silence, and memory is bounded, however slow the reader is."""

import os
import re
import time
from collections.abc import Iterator
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringlet.errors import RingletError
from ringlet.observe.exits.exit_event import EXITS
from ringlet.observe.trace.formats import make
from ringlet.observe.trace.recorder import Recorder, TraceClosedError

from ...until import LONG
from ..samples import exit, summary

pytestmark = pytest.mark.usefixtures("no_leak")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    os.close(read)


def read_all(fd: int, into: list[bytes]) -> None:
    while data := os.read(fd, 65536):
        into.append(data)


def recorder(fd: int, **options: object) -> Recorder:
    return Recorder(make("json", EXITS, most=1), fd, **options)  # type: ignore[arg-type]


def test_all_is_written_in_order_and_then_the_summary(pipe: tuple[int, int]) -> None:
    data: list[bytes] = []
    reader = Thread(target=read_all, args=(pipe[0], data))
    reader.start()
    made = recorder(pipe[1])
    exits = [exit(value=number % 256) for number in range(5000)]
    for start in range(0, 5000, 100):
        made.take(exits[start : start + 100])
    made.finish(summary(exits))
    reader.join()
    lines = b"".join(data).decode().splitlines()
    assert [int(re.findall(r'"value":(\d+)', line)[0]) for line in lines[:-1]] == [
        number % 256 for number in range(5000)
    ]
    assert lines[-1].startswith('{"summary"')
    assert made.missing == 0


def test_a_reader_that_sleeps_never_makes_the_guest_wait(pipe: tuple[int, int]) -> None:
    made = recorder(pipe[1], limit=1000)
    begin = time.monotonic()
    for _ in range(500):
        made.take([exit()] * 100)
    assert time.monotonic() - begin < LONG / 2
    assert 0 < made.missing < 50_000
    assert made._waiting <= 1000
    data: list[bytes] = []
    reader = Thread(target=read_all, args=(pipe[0], data))
    reader.start()
    made.take([])
    while made._waiting:
        time.sleep(0.001)
    made.take([exit(vcpu=7)])
    lost = made.missing
    made.finish(total := summary([exit()] * 50_001))
    reader.join()
    lines = b"".join(data).decode().splitlines()
    shown = sum('"vcpu"' in line for line in lines)
    assert shown + lost == 50_001
    assert total.missing == lost
    # Where they are missing, the trace says so: before the last exit.
    assert lines[-3] == f'{{"missing":{lost}}}'
    assert '"vcpu":7' in lines[-2]


@settings(max_examples=30)
@given(st.lists(st.integers(0, 300), max_size=20), st.integers(1, 400))
def test_what_is_shown_and_what_is_missing_is_all(batches: list[int], limit: int) -> None:
    read, write = os.pipe()
    data: list[bytes] = []
    reader = Thread(target=read_all, args=(read, data))
    reader.start()
    made = recorder(write, limit=limit)
    for size in batches:
        made.take([exit()] * size)
    made.finish(summary([]))
    reader.join()
    os.close(read)
    lines = b"".join(data).decode().splitlines()
    gaps = [int(line[11:-1]) for line in lines if line.startswith('{"missing"')]
    assert sum(gaps) == made.missing
    assert sum('"vcpu"' in line for line in lines) + made.missing == sum(batches)


def test_a_reader_that_goes_away_is_told_once(pipe: tuple[int, int]) -> None:
    told: list[int] = []
    read, write = os.pipe()
    made = recorder(write, on_error=lambda: told.append(1))
    os.close(read)
    for _ in range(100):
        made.take([exit()] * 10)
        time.sleep(0.001)
    with pytest.raises(TraceClosedError) as gone:
        made.finish(summary([]))
    assert gone.value.status == 141
    assert told == [1]
    os.close(pipe[1])


def test_a_disk_that_is_full_is_an_error() -> None:
    made = recorder(os.open("/dev/full", os.O_WRONLY))
    made.take([exit()])
    with pytest.raises(RingletError, match="No space left"):
        made.finish(summary([]))


def test_a_pipe_that_somebody_made_non_blocking_is_waited_for(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    made = recorder(pipe[1])
    made.take([exit()] * 2000)
    data: list[bytes] = []
    reader = Thread(target=read_all, args=(pipe[0], data))
    time.sleep(0.05)
    reader.start()
    made.finish(summary([]))
    reader.join()
    assert b"".join(data).count(b'"vcpu"') == 2000


def test_to_close_without_a_summary_writes_what_there_is(pipe: tuple[int, int]) -> None:
    made = recorder(pipe[1])
    made.take([exit()])
    made.close()
    made.close()
    assert os.read(pipe[0], 65536).count(b"\n") == 1
