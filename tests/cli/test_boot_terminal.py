"""`ringlet boot` on a terminal: the keys are the guest's, and the terminal is given back."""

import os
import select
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..machine_code import OBEYS
from .command import write_image
from .console import BOOT, Console, consoles

pytestmark = pytest.mark.needs_kvm

BROKEN_DEVICE = """
from ringlet import Machine, MachineConfig

class Broken:
    def read(self, offset, size):
        raise ValueError("a bug in a device")

with Machine(MachineConfig(image=bytes.fromhex("ba0005ec"), protocol="flat", serial="stdio")) as m:
    m.add_port_device(0x500, 1, Broken())
    m.run()
"""
ENDS = b"Ctrl-D ends."


@pytest.fixture
def console() -> Iterator[Callable[..., Console]]:
    with consoles() as make:
        yield make


@pytest.fixture
def echo(console: Callable[..., Console]) -> Console:
    """A console in which the echo guest runs and has said so."""
    made = console(BOOT, "boot", "echo")
    made.shown(ENDS)
    return made


@pytest.fixture
def spin(console: Callable[..., Console]) -> Console:
    """A console in which a guest runs that never listens."""
    made = console(BOOT, "boot", "spin")
    made.shown(b"off.")
    return made


# Keys.


def test_the_terminal_is_raw_while_the_guest_runs(echo: Console) -> None:
    assert echo.is_raw()


def test_ctrl_c_ctrl_z_and_ctrl_backslash_are_the_guests(echo: Console) -> None:
    for key in (b"\x03", b"\x1a", b"\x1c", b"\x13", b"\x11"):
        echo.type(key)
        assert echo.shown(key).endswith(key)


def test_the_guest_ends_by_its_own_key(echo: Console) -> None:
    echo.type(b"\x04")
    assert echo.ended() == 0


def test_ctrl_a_x_quits(echo: Console) -> None:
    echo.type(b"\x01x")
    assert echo.ended() == 130


def test_ctrl_a_x_quits_a_guest_that_does_not_listen(spin: Console) -> None:
    spin.type(b"so many keys that no FIFO holds them" * 10 + b"\x01x")
    assert spin.ended() == 130


def test_ctrl_a_x_quits_a_guest_whose_output_waits(console: Callable[..., Console]) -> None:
    made = console(BOOT, "boot", "flood")
    made.shown(b"xyz")
    made.type(b"\x01x")
    assert made.ended() == 130


def test_ctrl_a_twice_sends_one(echo: Console) -> None:
    echo.type(b"a\x01\x01z")
    assert echo.shown(b"z").endswith(b"a\x01z")


def test_ctrl_a_h_helps_and_tells_the_guest_nothing(echo: Console) -> None:
    echo.type(b"\x01h")
    shown = echo.shown(b"this help")
    assert b"Ctrl-A x" in shown
    echo.type(b"z")
    assert echo.shown(b"z").strip() == b"z"


def test_ctrl_a_i_shows_what_the_guest_does(spin: Console) -> None:
    shown = b""
    while b"endless loop" not in shown:  # at first it may still be on its way from the print
        spin.type(b"\x01i")
        shown = spin.shown(b"last access")
        assert b"vCPU 0: running, interrupts off" in shown
    spin.type(b"\x01x")
    assert spin.ended() == 130


def test_the_first_ctrl_c_says_how_to_quit_and_goes_to_the_guest(echo: Console) -> None:
    echo.type(b"a\x03b")
    shown = echo.shown(b"b")
    while b"\x03b" not in shown:
        shown += echo.shown(b"b")
    assert b"\nCtrl-C goes to the guest. Ctrl-A x ends the run, Ctrl-A h helps.\r" in shown
    echo.type(b"\x03\x03c")
    assert b"Ctrl" not in echo.shown(b"c")


def test_ctrl_a_p_presses_the_power_button(console: Callable[..., Console], tmp_path: Path) -> None:
    made = console(BOOT, "boot", str(write_image(tmp_path, OBEYS)))
    made.shown(b".")
    made.type(b"\x01p")
    assert made.ended() == 0


def test_ctrl_a_p_says_so_where_the_guest_does_not_listen(echo: Console) -> None:
    echo.type(b"\x01p")
    echo.shown(b"doesn't listen for the power button. Ctrl-A x ends the run.")
    echo.type(b"z")
    echo.shown(b"z")


# The terminal is given back.


@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP", "SIGQUIT", "SIGINT"])
@pytest.mark.parametrize("guest", ["echo", "spin"])
def test_a_signal_restores_the_terminal(
    number: str, guest: str, request: pytest.FixtureRequest
) -> None:
    made: Console = request.getfixturevalue(guest)
    signum = signal.Signals[number]
    os.kill(made.pid, signum)
    assert made.ended() == 128 + signum


@pytest.mark.parametrize("number", ["SIGSEGV", "SIGABRT", "SIGBUS"])
def test_a_fault_restores_the_terminal(number: str, spin: Console) -> None:
    signum = signal.Signals[number]
    os.kill(spin.pid, signum)
    assert spin.ended() == -signum


def test_a_crash_of_the_guest_restores_the_terminal(console: Callable[..., Console]) -> None:
    assert console(BOOT, "boot", "crash").ended() == 70


def test_a_timeout_restores_the_terminal(console: Callable[..., Console]) -> None:
    assert console(BOOT, "boot", "spin", "--timeout", "0.5").ended() == 124


def test_an_exception_of_a_device_restores_the_terminal(console: Callable[..., Console]) -> None:
    made = console(BROKEN_DEVICE)
    assert made.ended() == 1
    assert b"Traceback" in made.shown(b"a bug in a device")


@pytest.mark.parametrize("guest", ["echo", "spin"])
def test_suspended_the_terminal_is_restored_and_raw_again_afterwards(
    guest: str, request: pytest.FixtureRequest
) -> None:
    made: Console = request.getfixturevalue(guest)
    for key in (False, True):
        if key:
            made.type(b"\x01z")
        else:
            os.kill(made.pid, signal.SIGTSTP)
        assert made.report() == "stopped"
        assert made.mode() == made.cooked
        made.tell("fg")
        while not made.is_raw():
            select.select([], [], [], 0.01)
    made.type(b"\x01x")
    assert made.ended() == 130


def test_a_guest_goes_on_after_it_was_suspended(echo: Console) -> None:
    os.kill(echo.pid, signal.SIGTSTP)
    assert echo.report() == "stopped"
    echo.tell("fg")
    while not echo.is_raw():
        select.select([], [], [], 0.01)
    echo.type(b"still here")
    echo.shown(b"still here")
    echo.type(b"\x04")
    assert echo.ended() == 0
