"""The clock against the standard library's calendar, with a host's clock that the test turns."""

import time
from calendar import timegm

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ringlet.devices.cmos import Cmos

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY = 0, 2, 4, 6, 7, 8, 9, 0x32
A, B, C, D = 0xA, 0xB, 0xC, 0xD
UIP, SET, BINARY, HOURS_24 = 0x80, 0x80, 4, 2

YEAR_1970, YEAR_2200 = 0, 7_258_118_400
TIMES = st.floats(YEAR_1970, YEAR_2200)
FORMATS = st.sampled_from([0, BINARY, HOURS_24, BINARY | HOURS_24])


class Bench:
    """A clock in a room where it is `now`, and a kernel that uses it."""

    def __init__(self, now: float = 1e9, low: int = 64 * MIB, high: int = 0) -> None:
        self.now = now
        self.cmos = Cmos(low, high, lambda: self.now)

    def __getitem__(self, register: int) -> int:
        self.cmos.write(0, 1, register)
        return self.cmos.read(1, 1)

    def __setitem__(self, register: int, value: int) -> None:
        self.cmos.write(0, 1, register)
        self.cmos.write(1, 1, value)

    def decode(self, value: int) -> int:
        if self[B] & BINARY:
            return value
        assert value & 0xF < 10
        assert value >> 4 < 10
        return (value >> 4) * 10 + (value & 0xF)

    def encode(self, value: int) -> int:
        return value if self[B] & BINARY else value // 10 << 4 | value % 10

    def raw(self) -> tuple[int, ...]:
        """As a kernel reads it once UIP is 0."""
        while self[A] & UIP:
            self.now += 100e-6
        return tuple(self[r] for r in (SECONDS, MINUTES, HOURS, DAY, MONTH, YEAR, CENTURY))

    def time(self) -> int:
        """Seconds since 1970."""
        seconds, minutes, hours, *date = self.raw()
        day, month, year, century = map(self.decode, date)
        if not self[B] & HOURS_24:
            hour = self.decode(hours & 0x7F)
            assert 1 <= hour <= 12
            hours = self.encode(hour % 12 + (12 if hours & 0x80 else 0))
        clock = map(self.decode, (hours, minutes, seconds))
        return timegm((century * 100 + year, month, day, *clock))

    def set_time(self, seconds: int) -> None:
        t = time.gmtime(seconds)
        hour = self.encode(t.tm_hour)
        if not self[B] & HOURS_24:
            hour = self.encode((t.tm_hour + 11) % 12 + 1) | (0x80 if t.tm_hour > 11 else 0)
        self[B] = self[B] | SET
        self[HOURS] = hour
        for register, value in (
            (YEAR, t.tm_year % 100),
            (CENTURY, t.tm_year // 100),
            (MONTH, t.tm_mon),
            (DAY, t.tm_mday),
            (MINUTES, t.tm_min),
            (SECONDS, t.tm_sec),
        ):
            self[register] = self.encode(value)
        self[B] = self[B] & ~SET


@given(TIMES, FORMATS)
def test_the_time_is_the_hosts_in_every_format(now: float, form: int) -> None:
    bench = Bench(now)
    bench[B] = form
    assert bench.time() == int(bench.now)
    assert bench.decode(bench[WEEKDAY]) == (time.gmtime(bench.now).tm_wday + 1) % 7 + 1


@given(TIMES, FORMATS, TIMES, st.floats(0, 1e8))
def test_a_time_that_is_set_goes_on_from_there(
    now: float, form: int, chosen: float, later: float
) -> None:
    bench = Bench(now)
    bench[B] = form
    bench.set_time(int(chosen))
    bench.now += later
    assert abs(bench.time() - int(chosen) - later) <= 1.1


def test_a_real_host_has_its_own_time() -> None:
    bench = Bench()
    bench.cmos = Cmos(64 * MIB)
    before = int(time.time())
    assert before <= bench.time() <= time.time()


def test_the_clock_stands_still_while_it_is_set() -> None:
    bench = Bench()
    bench[B] = bench[B] | SET
    before = bench[SECONDS]
    bench.now += 30
    assert bench[SECONDS] == before
    assert not bench[A] & UIP
    bench[B] = bench[B] & ~SET
    assert bench.time() == int(bench.now) - 30


def test_a_single_register_is_set_without_stopping_the_clock() -> None:
    bench = Bench(timegm((2020, 2, 3, 4, 5, 6)))
    bench[HOURS] = 0x17
    bench[CENTURY] = 0x19
    assert bench.time() == timegm((1920, 2, 3, 17, 5, 6))


@given(TIMES, st.floats(1e-6, 0.01))
def test_no_time_is_torn_however_slow_its_reader_is(now: float, step: float) -> None:
    bench = Bench(now)
    while bench[A] & UIP:
        bench.now += step
    latched = bench.now
    found = []
    for register in (CENTURY, YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS):
        bench.now += step
        found.append(bench.decode(bench[register]))
    century, year, *rest = found
    assert timegm((century * 100 + year, *rest)) == int(latched)


@given(st.integers(0, 10**9), st.floats(1e-6, 1e-3))
def test_who_waits_for_an_update_sees_one_within_a_second(start: int, step: float) -> None:
    bench = Bench(start + 0.99)
    while not bench[A] & UIP:
        bench.now += step
    while bench[A] & UIP:
        bench.now += step
    assert start + 1 <= bench.now <= start + 1 + step + 1e-6
    assert bench.time() == start + 1


def test_who_never_looks_at_uip_sees_the_time_go_on() -> None:
    bench = Bench(1e9)
    seconds = {}
    for tick in range(30):
        bench.now = 1e9 + tick / 10
        seconds[bench.decode(bench[SECONDS])] = True
    assert len(seconds) == 3


def test_a_host_clock_that_goes_back_does_not_stop_the_guests() -> None:
    bench = Bench(1e9 + 0.5)
    assert not bench[A] & UIP
    bench.now -= 1000
    assert bench.time() == int(1e9) - 1000


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just(0), st.sampled_from([1, 2, 4]), st.integers(0, 0xFFFFFFFF)),
            st.tuples(st.just(1), st.just(1), st.integers(0, 0xFF)),
        ),
        max_size=60,
    )
)
def test_whatever_a_guest_writes_it_reads_bytes(writes: list[tuple[int, int, int]]) -> None:
    bench = Bench()
    for write in writes:
        bench.cmos.write(*write)
    for register in range(128):
        assert 0 <= bench[register] <= 0xFF


@given(st.integers(0, 127), st.integers(0, 0xFF))
def test_the_rest_is_ram(register: int, value: int) -> None:
    assume(register not in (*range(0, 5, 2), *range(6, 0xE), CENTURY))
    bench = Bench()
    bench[register] = value
    assert bench[register] == value
    assert bench[register | 0x80] == value, "the NMI mask isn't part of the number"


def test_interrupts_never_come_and_the_battery_is_full() -> None:
    bench = Bench()
    bench[B] = 0x72
    bench.now += 2
    assert bench[C] == 0
    bench[D] = 0
    assert bench[D] == 0x80


@pytest.mark.parametrize(
    ("low", "high", "base", "extended", "above_16m", "above_4g"),
    [
        (512 * KIB, 0, 512, 0, 0, 0),
        (2 * MIB, 0, 640, 1024, 0, 0),
        (64 * MIB, 0, 640, 64512, 768, 0),
        (3 * GIB, 5 * GIB, 640, 0xFFFF, 0xBF00, 0x14000),
    ],
)
def test_memory_is_as_large_as_it_is(
    low: int, high: int, base: int, extended: int, above_16m: int, above_4g: int
) -> None:
    bench = Bench(low=low, high=high)
    assert bench[0x15] | bench[0x16] << 8 == base
    assert bench[0x17] | bench[0x18] << 8 == extended
    assert bench[0x30] | bench[0x31] << 8 == extended
    assert bench[0x34] | bench[0x35] << 8 == above_16m
    assert bench[0x5B] | bench[0x5C] << 8 | bench[0x5D] << 16 == above_4g


def test_the_index_can_not_be_read_and_one_access_may_do_both() -> None:
    bench = Bench()
    bench.cmos.write(0, 2, 0x5A << 8 | 0x40)
    assert bench.cmos.read(0, 1) == 0xFF
    assert bench.cmos.read(1, 1) == 0x5A
