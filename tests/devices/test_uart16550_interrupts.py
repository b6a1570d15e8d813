"""The 16550A's interrupts and loopback, by the data sheet's sections 8.6 and 8.7."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ringlet.devices.uart16550 import (
    IER,
    IER_LINE,
    IER_MODEM,
    IER_RX,
    IER_THRE,
    IIR,
    IIR_LINE,
    IIR_MODEM,
    IIR_NONE,
    IIR_RX,
    IIR_THRE,
    LSR,
    LSR_TEMT,
    LSR_THRE,
    MCR,
    MCR_DTR,
    MCR_LOOP,
    MCR_OUT1,
    MCR_OUT2,
    MCR_RTS,
    MSR,
    MSR_CTS,
    MSR_DCD,
    MSR_DELTAS,
    MSR_DSR,
    MSR_RI,
    MSR_TERI,
    RBR,
    THR,
)

if TYPE_CHECKING:
    from tests.devices.conftest import Bench

EMPTY = LSR_THRE | LSR_TEMT
LINES = MSR_CTS | MSR_DSR | MSR_DCD


# Interrupts


def test_received_data_interrupts_until_it_is_read(bench: Bench) -> None:
    bench[IER] = IER_RX
    assert bench.line.levels == []
    bench.uart.receive(b"x")
    assert bench[IIR] == IIR_RX
    assert bench[IIR] == IIR_RX
    bench[RBR]
    assert bench.line.levels == [True, False]


def test_enabling_thre_interrupts_at_once(bench: Bench) -> None:
    bench[IER] = IER_THRE
    assert bench.irq
    assert bench[IIR] == IIR_THRE


def test_reading_iir_clears_thre(bench: Bench) -> None:
    bench[IER] = IER_THRE
    assert [bench[IIR], bench[IIR]] == [IIR_THRE, IIR_NONE]
    assert not bench.irq


def test_reading_iir_keeps_thre_where_another_source_is_shown(bench: Bench) -> None:
    bench[IER] = IER_THRE | IER_RX
    bench.uart.receive(b"x")
    assert bench[IIR] == IIR_RX
    bench[RBR]
    assert bench[IIR] == IIR_THRE


def test_enabling_thre_again_interrupts_again(bench: Bench) -> None:
    """Linux tells working UARTs from others by this (serial8250_THRE_test)."""
    for _ in range(2):
        bench[IER] = IER_THRE
        assert [bench[IIR], bench[IIR]] == [IIR_THRE, IIR_NONE]
        bench[IER] = 0


def test_writing_ier_with_thre_still_enabled_is_no_new_interrupt(bench: Bench) -> None:
    bench[IER] = IER_THRE
    bench[IIR]
    bench[IER] = IER_THRE | IER_RX
    assert bench[IIR] == IIR_NONE


def test_a_write_to_thr_drops_the_line_and_raises_it_again(bench: Bench) -> None:
    """An edge for each byte, though THR is empty again at once."""
    bench[IER] = IER_THRE
    bench[THR] = 65
    assert bench.line.levels == [True, False, True]
    assert bench[IIR] == IIR_THRE


def test_modem_status_interrupts_until_msr_is_read(bench: Bench) -> None:
    bench[IER] = IER_MODEM
    bench[MCR] = MCR_LOOP
    assert bench[IIR] == IIR_MODEM
    bench[MSR]
    assert bench.line.levels == [True, False]


def test_line_status_interrupts_until_lsr_is_read(bench: Bench) -> None:
    bench[IER] = IER_LINE
    bench.uart.receive_break()
    assert bench[IIR] == IIR_LINE
    bench[LSR]
    assert bench.line.levels == [True, False]


def test_interrupts_come_by_priority(bench: Bench) -> None:
    bench[MCR] = MCR_LOOP
    bench[MCR] = 0
    bench.uart.receive_break()
    bench[IER] = 0x0F
    seen = []
    for clear in (LSR, RBR, IIR, MSR):
        seen.append(bench[IIR] if clear != IIR else IIR_THRE)
        bench[clear]
    assert seen == [IIR_LINE, IIR_RX, IIR_THRE, IIR_MODEM]
    assert bench[IIR] == IIR_NONE


def test_disabling_a_source_drops_the_line(bench: Bench) -> None:
    bench[IER] = 0x0F
    bench.uart.receive(b"x")
    bench[IER] = 0
    assert bench[IIR] == IIR_NONE
    assert not bench.irq


def test_the_line_is_set_only_where_its_level_changes(fifo: Bench) -> None:
    fifo[IER] = 0x0F
    fifo.uart.receive(b"abc")
    fifo[IER] = IER_RX
    fifo.take()
    assert fifo.line.levels == [True, False]


def test_out2_does_not_gate_the_interrupt(bench: Bench) -> None:
    bench[MCR] = MCR_OUT2
    bench[IER] = IER_THRE
    bench[MCR] = 0
    assert bench.irq


# Modem control and loopback


@pytest.mark.parametrize(
    ("output", "input_"),
    [(MCR_RTS, MSR_CTS), (MCR_DTR, MSR_DSR), (MCR_OUT1, MSR_RI), (MCR_OUT2, MSR_DCD)],
)
def test_in_loopback_modem_outputs_are_the_inputs(bench: Bench, output: int, input_: int) -> None:
    bench[MCR] = MCR_LOOP | output
    assert bench[MSR] & ~MSR_DELTAS == input_


def test_linux_finds_the_uart_by_its_loopback(bench: Bench) -> None:
    bench[MCR] = MCR_LOOP | 0x0A
    assert bench[MSR] & 0xF0 == 0x90


def test_a_changed_input_sets_its_delta_until_msr_is_read(bench: Bench) -> None:
    bench[MCR] = MCR_LOOP
    bench[MSR]
    bench[MCR] = MCR_LOOP | MCR_RTS
    assert bench[MSR] == MSR_CTS | MSR_CTS >> 4
    assert bench[MSR] == MSR_CTS
    bench[MCR] = MCR_LOOP
    assert bench[MSR] == MSR_CTS >> 4


def test_ring_indicator_counts_its_trailing_edge_alone(bench: Bench) -> None:
    bench[MCR] = MCR_LOOP
    bench[MSR]
    bench[MCR] = MCR_LOOP | MCR_OUT1
    assert bench[MSR] == MSR_RI
    bench[MCR] = MCR_LOOP
    assert bench[MSR] == MSR_TERI


def test_leaving_loopback_brings_the_far_end_back(bench: Bench) -> None:
    bench[MCR] = MCR_LOOP
    bench[MCR] = MCR_RTS
    assert bench[MSR] & ~MSR_DELTAS == LINES


def test_in_loopback_what_is_sent_is_received_and_not_transmitted(fifo: Bench) -> None:
    fifo[MCR] = MCR_LOOP
    for byte in b"loop":
        fifo[THR] = byte
    assert fifo.take() == b"loop"
    assert fifo.sent == b""


def test_interrupts_work_in_loopback(bench: Bench) -> None:
    bench[MCR] = MCR_LOOP
    bench[IER] = IER_RX | IER_THRE
    bench[IIR]
    bench[THR] = 65
    assert bench[IIR] == IIR_RX
    bench[RBR]
    assert bench[IIR] == IIR_THRE


def test_in_loopback_the_host_is_cut_off(fifo: Bench) -> None:
    fifo[MCR] = MCR_LOOP
    assert fifo.uart.room == 0
    assert fifo.uart.receive(b"x") == 0
    fifo.uart.receive_break()
    assert fifo[LSR] == EMPTY
