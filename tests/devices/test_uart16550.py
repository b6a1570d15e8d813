"""The 16550A's registers and FIFOs, by the data sheet's section 8: a test for each rule."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from ringlet.devices.uart16550 import (
    DLL,
    DLM,
    FCR,
    FCR_CLEAR_RX,
    FCR_CLEAR_TX,
    FCR_ENABLE,
    FIFO_SIZE,
    IER,
    IER_RX,
    IER_THRE,
    IIR,
    IIR_FIFO,
    IIR_NONE,
    IIR_RX,
    IIR_TIMEOUT,
    LCR,
    LCR_DLAB,
    LSR,
    LSR_BI,
    LSR_DR,
    LSR_FIFO_ERROR,
    LSR_OE,
    LSR_TEMT,
    LSR_THRE,
    MCR,
    MCR_LOOP,
    MCR_RTS,
    MSR,
    MSR_CTS,
    MSR_DCD,
    MSR_DSR,
    RBR,
    SCR,
    THR,
)

if TYPE_CHECKING:
    from tests.devices.conftest import Bench

EMPTY = LSR_THRE | LSR_TEMT
LINES = MSR_CTS | MSR_DSR | MSR_DCD


# Reset (table III)


def test_reset_values(bench: Bench) -> None:
    assert [bench[offset] for offset in (IER, IIR, LCR, MCR, LSR, MSR)] == [
        0,
        IIR_NONE,
        0,
        0,
        EMPTY,
        LINES,
    ]
    assert bench.line.levels == []


# THR and RBR


def test_a_byte_written_to_thr_is_sent(bench: Bench) -> None:
    for byte in b"hi\0\xff":
        bench[THR] = byte
    assert bench.sent == b"hi\0\xff"


def test_thr_is_empty_after_every_write(bench: Bench) -> None:
    bench[THR] = 65
    assert bench[LSR] == EMPTY


def test_a_received_byte_is_data_ready_until_read(bench: Bench) -> None:
    assert bench.uart.receive(b"x") == 1
    assert bench[LSR] == EMPTY | LSR_DR
    assert bench[RBR] == ord("x")
    assert bench[LSR] == EMPTY


def test_rbr_without_data_reads_0(bench: Bench) -> None:
    assert bench[RBR] == 0


def test_what_transmit_raises_comes_out_of_write(bench: Bench) -> None:
    def closed(data: bytes) -> None:
        raise BrokenPipeError

    bench.uart.transmit = closed
    with pytest.raises(BrokenPipeError):
        bench[THR] = 65


def test_a_blocked_transmit_holds_no_lock(bench: Bench) -> None:
    """Input goes on, and interrupts, while the vCPU is held by slow output."""
    started, go_on = threading.Event(), threading.Event()

    def slow(data: bytes) -> None:
        started.set()
        go_on.wait()

    bench.uart.transmit = slow
    bench[IER] = IER_RX | IER_THRE
    vcpu = threading.Thread(target=bench.uart.write, args=(THR, 1, 65))
    vcpu.start()
    started.wait()
    assert bench.line.levels == [True, False]
    assert bench.uart.receive(b"x") == 1
    assert bench.line.levels == [True, False, True]
    go_on.set()
    vcpu.join()


# Divisor latch and LCR


def test_dlab_switches_offsets_0_and_1_to_the_divisor_latch(bench: Bench) -> None:
    bench[IER] = IER_RX
    bench[LCR] = LCR_DLAB | 3
    bench[DLL], bench[DLM] = 0x34, 0x12
    assert (bench[DLL], bench[DLM]) == (0x34, 0x12)
    bench[LCR] = 3
    assert bench[IER] == IER_RX
    assert bench[RBR] == 0
    assert bench.sent == b""


def test_lcr_reads_back_all_bits(bench: Bench) -> None:
    for value in (0xFF, 0x1B, 0):
        bench[LCR] = value
        assert bench[LCR] == value


def test_word_length_and_break_control_change_nothing_sent(bench: Bench) -> None:
    bench[LCR] = 0x40
    bench[THR] = 0xFF
    assert bench.sent == b"\xff"


# SCR, IER, MCR: what is kept


def test_scr_reads_back(bench: Bench) -> None:
    bench[SCR] = 0xA5
    assert bench[SCR] == 0xA5


def test_ier_keeps_its_four_bits_alone(bench: Bench) -> None:
    bench[IER] = 0xFF
    assert bench[IER] == 0x0F


def test_mcr_keeps_its_five_bits_alone(bench: Bench) -> None:
    bench[MCR] = 0xFF
    assert bench[MCR] == 0x1F


@pytest.mark.parametrize("register", [LSR, MSR])
def test_the_status_registers_cannot_be_written(bench: Bench, register: int) -> None:
    before = bench[register]
    bench[register] = 0xFF
    assert bench[register] == before


# Accesses wider than a register


def test_a_wide_access_reaches_consecutive_registers(bench: Bench) -> None:
    bench.uart.write(LCR, 2, MCR_RTS << 8 | 3)
    assert (bench[LCR], bench[MCR]) == (3, MCR_RTS)
    assert bench.uart.read(LCR, 2) == MCR_RTS << 8 | 3
    assert bench.uart.read(LCR, 4) == LINES << 24 | EMPTY << 16 | MCR_RTS << 8 | 3


def test_a_wide_write_at_0_sends_its_lowest_byte(bench: Bench) -> None:
    bench.uart.write(THR, 2, IER_RX << 8 | 65)
    assert bench.sent == b"A"
    assert bench[IER] == IER_RX


def test_a_wide_access_past_scr_finds_nothing(bench: Bench) -> None:
    bench.uart.write(SCR, 2, 0x4142)
    assert bench.uart.read(SCR, 2) == 0xFF42


# FIFOs


def test_without_fifo_one_byte_is_held(bench: Bench) -> None:
    assert bench.uart.room == 1
    assert bench.uart.receive(b"abc") == 1
    assert bench.uart.room == 0
    assert bench.uart.receive(b"bc") == 0
    assert bench[RBR] == ord("a")


def test_the_fifo_holds_16_bytes_in_order(fifo: Bench) -> None:
    assert fifo.uart.receive(bytes(range(20))) == FIFO_SIZE
    assert fifo.uart.room == 0
    assert fifo.take() == bytes(range(16))


def test_iir_shows_enabled_fifos(bench: Bench) -> None:
    bench[FCR] = FCR_ENABLE
    assert bench[IIR] == IIR_FIFO | IIR_NONE
    bench[FCR] = 0
    assert bench[IIR] == IIR_NONE


@pytest.mark.parametrize("value", [FCR_CLEAR_RX, 0xC0])
def test_fcr_bits_need_the_enable_bit(fifo: Bench, value: int) -> None:
    """Without it the write disables the FIFOs, and programs no trigger level."""
    fifo[FCR] = value
    assert fifo[IIR] == IIR_NONE
    fifo.uart.receive(b"x")
    fifo[FCR] = value
    assert fifo[RBR] == ord("x")


def test_enabling_and_disabling_fifos_clears_them(bench: Bench) -> None:
    for value in (FCR_ENABLE, 0):
        bench.uart.receive(b"x")
        bench[FCR] = value
        assert bench[LSR] == EMPTY


def test_fcr_clears_the_receive_fifo_by_a_bit_that_clears_itself(fifo: Bench) -> None:
    fifo.uart.receive(b"abc")
    fifo[FCR] = FCR_ENABLE | FCR_CLEAR_RX
    assert fifo[LSR] == EMPTY
    fifo.uart.receive(b"d")
    assert fifo[RBR] == ord("d")


def test_fcr_written_again_or_clearing_the_transmit_fifo_keeps_received_bytes(fifo: Bench) -> None:
    fifo.uart.receive(b"abc")
    fifo[FCR] = FCR_ENABLE
    fifo[FCR] = FCR_ENABLE | FCR_CLEAR_TX
    assert fifo.take() == b"abc"


@pytest.mark.parametrize(("bits", "level"), [(0, 1), (1, 4), (2, 8), (3, 14)])
def test_trigger_level(bench: Bench, bits: int, level: int) -> None:
    """From the trigger level on it is received data, below it the character timeout."""
    bench[FCR] = FCR_ENABLE | bits << 6
    bench[IER] = IER_RX
    for count in range(1, FIFO_SIZE + 1):
        bench.uart.receive(b"x")
        assert bench[IIR] == IIR_FIFO | (IIR_RX if count >= level else IIR_TIMEOUT)
    bench.take()
    assert bench[IIR] == IIR_FIFO | IIR_NONE


# LSR's errors


def test_an_overrun_of_the_fifo_loses_the_new_byte(fifo: Bench) -> None:
    fifo[MCR] = MCR_LOOP
    for byte in range(FIFO_SIZE + 1):
        fifo[THR] = byte
    assert fifo[LSR] == EMPTY | LSR_DR | LSR_OE
    assert fifo.take() == bytes(range(FIFO_SIZE))


def test_an_overrun_without_fifo_overwrites_rbr(bench: Bench) -> None:
    bench[MCR] = MCR_LOOP
    bench[THR] = ord("a")
    bench[THR] = ord("b")
    assert bench[LSR] == EMPTY | LSR_DR | LSR_OE
    assert bench[RBR] == ord("b")


def test_reading_lsr_clears_the_errors(fifo: Bench) -> None:
    fifo.uart.receive_break()
    assert fifo[LSR] == EMPTY | LSR_DR | LSR_BI | LSR_FIFO_ERROR
    assert fifo[LSR] == EMPTY | LSR_DR


def test_a_break_is_received_as_a_zero(bench: Bench) -> None:
    bench.uart.receive_break()
    assert bench[LSR] == EMPTY | LSR_DR | LSR_BI
    assert bench[RBR] == 0
    assert bench[LSR] == EMPTY


def test_a_break_shows_once_it_is_first_in_the_fifo(fifo: Bench) -> None:
    fifo.uart.receive(b"a")
    fifo.uart.receive_break()
    fifo.uart.receive(b"b")
    assert fifo[LSR] == EMPTY | LSR_DR | LSR_FIFO_ERROR
    assert fifo[RBR] == ord("a")
    assert fifo[LSR] == EMPTY | LSR_DR | LSR_BI | LSR_FIFO_ERROR
    assert fifo.take() == b"\0b"


def test_the_fifo_error_bit_stays_while_another_break_waits(fifo: Bench) -> None:
    fifo.uart.receive_break()
    fifo.uart.receive_break()
    assert fifo[LSR] & (LSR_BI | LSR_FIFO_ERROR) == LSR_BI | LSR_FIFO_ERROR
    assert fifo[LSR] & (LSR_BI | LSR_FIFO_ERROR) == LSR_FIFO_ERROR


def test_a_break_with_no_room_is_an_overrun(fifo: Bench) -> None:
    fifo.uart.receive(bytes(FIFO_SIZE))
    fifo.uart.receive_break()
    assert fifo[LSR] == EMPTY | LSR_DR | LSR_OE
