"""The 16550A against a hostile guest and a fast host: flow control and what never breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from ringlet.devices.uart16550 import (
    FCR,
    FCR_CLEAR_RX,
    FCR_ENABLE,
    FIFO_SIZE,
    IIR,
    IIR_NONE,
    LSR,
    LSR_DR,
    MCR,
    MCR_LOOP,
    MCR_RTS,
    RBR,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.devices.conftest import Bench


def test_on_room_comes_when_the_full_fifo_is_read(fifo: Bench) -> None:
    fifo.uart.receive(bytes(FIFO_SIZE))
    fifo[RBR]
    assert fifo.rooms == 1
    fifo[RBR]
    assert fifo.rooms == 1


def test_on_room_comes_when_the_full_fifo_is_cleared(fifo: Bench) -> None:
    fifo.uart.receive(bytes(FIFO_SIZE))
    fifo[FCR] = FCR_ENABLE | FCR_CLEAR_RX
    assert fifo.rooms == 1


def test_on_room_comes_when_the_fifos_are_enabled(bench: Bench) -> None:
    bench.uart.receive(b"x")
    bench[FCR] = FCR_ENABLE
    assert bench.rooms == 1


def test_on_room_comes_when_loopback_ends(bench: Bench) -> None:
    bench[MCR] = MCR_LOOP
    assert bench.rooms == 0
    bench[MCR] = 0
    assert bench.rooms == 1


def test_the_guest_holds_the_sender_by_rts(fifo: Bench) -> None:
    fifo[MCR] = MCR_RTS
    assert fifo.uart.receive(b"a") == 1
    fifo[MCR] = 0
    assert fifo.uart.room == 0
    assert fifo.uart.receive(b"b") == 0
    rooms = fifo.rooms
    fifo[MCR] = MCR_RTS
    assert fifo.rooms == rooms + 1
    assert fifo.uart.receive(b"b") == 1
    assert [fifo[RBR], fifo[RBR]] == [ord("a"), ord("b")]


def test_a_guest_that_never_uses_rts_hears_all_the_same(fifo: Bench) -> None:
    fifo[MCR] = MCR_LOOP | MCR_RTS  # the pin stays off in loopback
    fifo[MCR] = 0
    assert fifo.uart.receive(b"a") == 1


def test_on_room_may_receive_at_once(bench: Bench) -> None:
    """It is called with no lock held."""

    def refill() -> None:
        bench.uart.receive(b"b")

    bench.uart.on_room = refill
    bench.uart.receive(b"a")
    assert [bench[RBR], bench[RBR]] == [ord("a"), ord("b")]


OFFSETS = st.integers(0, 7)
ACCESSES = st.lists(
    st.one_of(
        st.tuples(st.just("read"), OFFSETS, st.sampled_from([1, 2, 4])),
        st.tuples(st.just("write"), OFFSETS, st.just(1), st.integers(0, 0xFF)),
        st.tuples(st.just("write"), OFFSETS, st.just(2), st.integers(0, 0xFFFF)),
        st.tuples(st.just("write"), OFFSETS, st.just(4), st.integers(0, 0xFFFFFFFF)),
        st.tuples(st.just("receive"), st.binary(max_size=20)),
        st.tuples(st.just("receive_break")),
    ),
    max_size=60,
)


@given(accesses=ACCESSES)
def test_any_accesses_keep_the_uart_consistent(
    new_bench: Callable[[], Bench], accesses: list[tuple[Any, ...]]
) -> None:
    bench = new_bench()
    uart, state = bench.uart, bench.uart.state
    for name, *arguments in accesses:
        room, rooms = uart.room, bench.rooms
        result = getattr(uart, name)(*arguments)
        if name == "read":
            assert 0 <= result < 1 << 8 * arguments[1]
        if name == "receive":
            assert result == min(room, len(arguments[0]))
        if room == 0 and uart.room:  # whoever waits for room has heard of it
            assert bench.rooms > rooms
        assert len(state.rx) <= FIFO_SIZE
        assert max(state.ier, state.lcr, state.mcr, state.scr, state.divisor >> 8) <= 0xFF
        levels = bench.line.levels
        assert levels == [index % 2 == 0 for index in range(len(levels))]
    # IIR says what the line says. Then LSR: reading it clears the line status alone.
    irq = bench.irq
    assert (bench[IIR] & IIR_NONE == 0) == irq
    assert bool(bench[LSR] & LSR_DR) == bool(state.rx)
