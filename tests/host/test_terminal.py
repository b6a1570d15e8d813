"""The terminal, on a real pseudo-terminal, with a shell and jobs in processes of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import termios
import threading
import time
from typing import TYPE_CHECKING

import pytest

from ringlet.host.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.host.conftest import Console

    Make = Callable[..., Console]


@pytest.fixture
def running(console: Make) -> Console:
    """With the guest running in the foreground."""
    running = console()
    assert running.report() == "ready"
    return running


def ended(console: Console, status: int) -> bool:
    """It ends with `status`, and the terminal is as it was, to the bit."""
    assert console.report() == f"ended {status}"
    return console.mode() == console.cooked


def test_every_key_but_ctrl_a_is_the_guests(running: Console) -> None:
    assert running.raw
    for key in (b"\x03", b"\x04", b"\x11", b"\x13", b"\x16", b"\x1a", b"\x1c", b"\r", b"\xff"):
        running.type(key)
        assert running.report() == f"key {key.hex()}"


def test_ctrl_a_x_quits(running: Console) -> None:
    running.type(b"\x01")
    running.type(b"x")
    assert ended(running, 0)


def test_ctrl_a_x_quits_on_a_guest_that_takes_no_input(console: Make) -> None:
    deaf = console("deaf")
    assert deaf.report() == "ready"
    deaf.type(b"hello?")
    deaf.type(b"\x01x")
    assert ended(deaf, 0)


def test_ctrl_a_twice_sends_one(running: Console) -> None:
    running.type(b"\x01\x01")
    assert running.report() == "key 01"


def test_ctrl_a_h_helps(running: Console) -> None:
    running.type(b"\x01h")
    assert b"Ctrl-A x" in running.shown(b"this help")


def test_a_message_is_shown_whole_beside_output_that_never_rests() -> None:
    master, slave = os.openpty()
    shown = bytearray()

    def read() -> None:
        with contextlib.suppress(OSError):  # the last descriptor of the slave is closed
            while data := os.read(master, 65536):
                shown.extend(data)

    rests = threading.Event()

    def write() -> None:
        while not rests.is_set():
            os.write(slave, b"." * 64)

    threads = [threading.Thread(target=read), threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    try:
        terminal = Terminal(slave)
        for number in range(100):
            terminal.show(b"<%d>" % number)
    finally:
        rests.set()
        threads[1].join()
        os.close(slave)
        threads[0].join()
        os.close(master)
    missing = [number for number in range(100) if b"<%d>" % number not in shown]
    assert missing == []


def test_ctrl_a_b_sends_a_break(running: Console) -> None:
    running.type(b"\x01b")
    assert running.report() == "break"


def test_a_bare_line_feed_returns_the_carriage(running: Console) -> None:
    running.type(b"n")
    assert running.shown(b"two\r\n").endswith(b"one\r\ntwo\r\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_that_ends_it_restores_the_terminal(
    running: Console, number: signal.Signals
) -> None:
    os.kill(running.pid, number)
    assert ended(running, 128 + number)


def test_an_uncaught_exception_restores_the_terminal(running: Console) -> None:
    running.type(b"e")
    assert running.report() == "key 65"
    assert ended(running, 1)


@pytest.mark.parametrize(("key", "number"), [(b"s", signal.SIGSEGV), (b"a", signal.SIGABRT)])
def test_a_crash_in_c_restores_the_terminal_and_is_still_a_crash(
    running: Console, key: bytes, number: signal.Signals
) -> None:
    running.type(key)
    running.report()
    assert ended(running, -number)


@pytest.mark.parametrize("number", [signal.SIGBUS, signal.SIGILL, signal.SIGFPE])
def test_a_fault_signal_restores_the_terminal(running: Console, number: signal.Signals) -> None:
    os.kill(running.pid, number)
    assert ended(running, -number)


def suspend_by_key(console: Console) -> None:
    console.type(b"\x01z")


def suspend_from_outside(console: Console) -> None:
    os.kill(console.pid, signal.SIGTSTP)


@pytest.mark.parametrize("suspend", [suspend_by_key, suspend_from_outside])
def test_suspending_restores_the_terminal_and_fg_makes_it_raw(
    running: Console, suspend: Callable[[Console], None]
) -> None:
    for _ in range(2):
        suspend(running)
        assert running.report() == "stopped"
        assert running.mode() == running.cooked
        running.tell("fg")
        running.type(b"k")
        assert running.report() == "key 6b"
        assert running.raw
    running.type(b"\x01x")
    assert ended(running, 0)


def test_after_sigstop_and_the_shells_own_mode_it_is_raw_again(running: Console) -> None:
    os.kill(running.pid, signal.SIGSTOP)
    assert running.report() == "stopped"
    termios.tcsetattr(running.master, termios.TCSANOW, running.cooked)
    running.tell("fg")
    running.type(b"\x01x")
    assert ended(running, 0)


def test_in_the_background_it_leaves_the_terminal_alone(running: Console) -> None:
    """It neither sets it nor reads from it, and no SIGTTIN or SIGTTOU stops it."""
    suspend_from_outside(running)
    assert running.report() == "stopped"
    running.tell("bg")
    running.type(b"for the shell\n")
    time.sleep(0.1)  # in which it could read them
    assert os.read(running.slave, 100) == b"for the shell\n"
    assert running.mode() == running.cooked
    running.tell("take")
    running.type(b"k")
    assert running.report() == "key 6b"
    assert running.raw


def test_ended_in_the_background_it_leaves_the_terminal_alone(running: Console) -> None:
    suspend_from_outside(running)
    assert running.report() == "stopped"
    changed = running.mode()
    changed[3] &= ~termios.ECHO
    termios.tcsetattr(running.master, termios.TCSANOW, changed)
    running.tell("bg")
    os.kill(running.pid, signal.SIGTERM)
    assert running.report() == f"ended {128 + signal.SIGTERM}"
    assert running.mode() == changed


def test_started_in_the_background_it_waits_for_its_turn(console: Make) -> None:
    job = console(background=True)
    assert job.report() == "ready"
    assert job.mode() == job.cooked
    job.tell("take")
    job.type(b"\x01x\n")
    assert ended(job, 0)
