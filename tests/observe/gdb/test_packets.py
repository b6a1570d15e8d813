"""Packets of GDB's remote protocol: framing, checksums, escapes, runs, and garbage."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.observe.gdb.packets import (
    MAX_PACKET,
    PacketReader,
    Signal,
    escape,
    frame,
    unescape,
)

from ..gdb_client import expand


def received(data: bytes) -> bytes:
    """The data of one packet, whose checksum is right."""
    assert data[:1] == b"$"
    assert data[-3:-2] == b"#"
    body = data[1:-3]
    assert b"$" not in body
    assert b"#" not in body
    assert int(data[-2:], 16) == sum(body) & 0xFF
    return body


def test_the_checksum_is_that_of_the_manual() -> None:
    assert frame(b"OK") == b"$OK#9a"


@given(st.lists(st.sampled_from(b"00ffx*a}"), max_size=300).map(bytes))
def test_binary_data_comes_through(data: bytes) -> None:
    assert unescape(expand(received(frame(escape(data))))) == data


@given(st.binary(max_size=400))
def test_any_binary_data_comes_through(data: bytes) -> None:
    assert unescape(expand(received(frame(escape(data))))) == data


def test_long_runs_are_short() -> None:
    assert len(frame(b"0" * 1000)) < 60
    assert b"0*" in frame(b"0" * 1000)


@given(st.lists(st.binary(max_size=40), max_size=8), st.integers(1, 7))
def test_packets_are_found_however_the_bytes_come(packets: list[bytes], size: int) -> None:
    sent = b"".join(b"+" + b"$%b#%02x" % (d, sum(d) & 0xFF) for d in map(escape, packets))
    reader = PacketReader()
    found = [item for at in range(0, len(sent), size) for item in reader.feed(sent[at : at + size])]
    assert [unescape(item) for item in found if isinstance(item, bytes)] == packets
    assert found.count(Signal.ACK) == len(packets)


def test_an_interrupt_counts_outside_of_packets_only() -> None:
    assert PacketReader().feed(b"\x03") == [Signal.INTERRUPT]
    assert PacketReader().feed(b"$X\x03#5b") == [b"X\x03"]


@pytest.mark.parametrize("digits", [b"00", b"zz", b"9b", b"$$"])
def test_a_wrong_checksum_is_told(digits: bytes) -> None:
    assert PacketReader().feed(b"$OK#" + digits + b"+") == [Signal.DAMAGED, Signal.ACK]


def test_a_packet_that_breaks_off_is_forgotten_at_the_next() -> None:
    assert PacketReader().feed(b"$m100,$OK#9a") == [b"OK"]


def test_a_packet_of_the_most_bytes_is_taken_and_a_longer_one_is_told() -> None:
    most = b"a" * MAX_PACKET
    for extra, expected in ((b"", most), (b"a", Signal.TOO_LONG)):
        data = most + extra
        reader = PacketReader()
        assert reader.feed(b"$%b#%02x" % (data, sum(data) & 0xFF)) == [expected]
        assert reader.feed(b"$OK#9a") == [b"OK"]


def test_an_endless_packet_takes_no_memory() -> None:
    reader = PacketReader()
    reader.feed(b"$")
    for _ in range(100):
        assert reader.feed(b"x" * 10_000) == []
    assert len(reader._data) == MAX_PACKET


@given(st.binary(max_size=2000))
def test_garbage_never_raises(data: bytes) -> None:
    reader = PacketReader()
    reader.feed(data)
    # Whatever came before: one packet at most is lost to it.
    assert reader.feed(b"#00$OK#9a")[-1] == b"OK"
