"""The console's last words: kept within bounds, and everything is handed on."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringlet.host.console_log import LINE, SIZE, ConsoleLog

from ..examples import examples

PANIC = b"[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n"


@settings(deadline=None, max_examples=examples(30))
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=8), st.integers(1, SIZE // 4))))
def test_all_is_handed_on_and_the_end_kept(parts: list[tuple[bytes, int]]) -> None:
    handed = bytearray()
    log = ConsoleLog(handed.extend)
    said = b""
    for data, times in parts:
        log.transmit(data * times)
        said += data * times
    assert handed == said
    assert log.tail == said[-SIZE:]


def test_a_flood_takes_no_more_memory_than_twice_what_is_kept() -> None:
    log = ConsoleLog(lambda data: None)
    for _ in range(40):
        log.transmit(bytes(SIZE // 4))
        assert len(log._data) <= 2 * SIZE
    assert log.tail == bytes(SIZE)


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_a_panic_is_seen_however_it_comes(size: int) -> None:
    log = ConsoleLog(lambda data: None)
    assert not log.tells_of_panic
    said = b"[    0.9] all is well\r\n" + PANIC + b"[    1.1] a call trace\r\n" * 1000
    for start in range(0, len(said), size):
        log.transmit(said[start : start + size])
    assert log.tells_of_panic


def test_other_words_are_no_panic() -> None:
    log = ConsoleLog(lambda data: None)
    log.transmit(b"Kernel panic? not now\r\nCommand line: panic=-1\r\n")
    assert not log.tells_of_panic


def test_what_the_next_one_raises_comes_out() -> None:
    def full(data: bytes) -> None:
        raise OSError("no space")

    log = ConsoleLog(full)
    with pytest.raises(OSError, match="no space"):
        log.transmit(b"last words")
    assert log.tail == b"last words"


# Polled output is gathered.


def test_a_line_is_handed_on_when_it_ends() -> None:
    handed: list[bytes] = []
    log = ConsoleLog(handed.append)
    for byte in b"one\r\ntwo":
        log.gather(bytes([byte]))
    assert handed == [b"one\r\n"]
    assert log.tail == b"one\r\ntwo"
    log.flush()
    log.flush()
    assert handed == [b"one\r\n", b"two"]


def test_a_line_without_end_is_handed_on_in_parts() -> None:
    handed: list[bytes] = []
    log = ConsoleLog(handed.append)
    for _ in range(3 * LINE):
        log.gather(b"x")
    assert [len(data) for data in handed] == [LINE] * 3


def test_what_is_sent_at_once_comes_behind_what_was_gathered() -> None:
    handed: list[bytes] = []
    log = ConsoleLog(handed.append)
    log.gather(b"a")
    log.transmit(b"b")
    assert b"".join(handed) == b"ab"


@given(st.lists(st.tuples(st.sampled_from(["gather", "transmit", "flush"]), st.binary(max_size=4))))
def test_nothing_is_lost_or_changes_places(parts: list[tuple[str, bytes]]) -> None:
    handed = bytearray()
    log = ConsoleLog(handed.extend)
    said = b""
    for how, data in parts:
        if how == "flush":
            log.flush()
        else:
            getattr(log, how)(data)
            said += data
    assert log.tail == said
    log.flush()
    assert handed == said
