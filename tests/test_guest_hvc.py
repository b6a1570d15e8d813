"""The guest `hvc`, natively: its own driver against our virtio terminal, on a real terminal too."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pytest

from ringlet import Machine, MachineConfig

from .cli.console import BOOT, Console, consoles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.needs_kvm

GREETING = b"Type; Ctrl-D ends.\n"
SIZED = "import termios; termios.tcsetwinsize(0, (33, 99))\n" + BOOT


@pytest.fixture
def console() -> Iterator[Callable[..., Console]]:
    with consoles() as make:
        yield make


@pytest.mark.usefixtures("no_leak")
def test_what_is_typed_comes_back_through_descriptors() -> None:
    serial = io.BytesIO()
    (to_us, stdout), (stdin, to_guest) = os.pipe(), os.pipe()
    try:
        config = MachineConfig(image="hvc", serial=serial, hvc0=(stdin, stdout), timeout=60)
        with Machine(config) as machine:
            machine.start()
            assert os.read(to_us, len(GREETING)) == GREETING
            os.write(to_guest, b"hello")
            assert os.read(to_us, 5) == b"hello"
            os.write(to_guest, b"\x04")
            result = machine.wait()
        assert result is not None
        assert (result.reason, result.status) == ("exit-port", 0)
        assert serial.getvalue() == b"80 columns, 25 rows\n"
    finally:
        for fd in (to_us, stdout, stdin, to_guest):
            os.close(fd)


def test_on_a_terminal_it_has_the_keys_and_the_size(
    console: Callable[..., Console], tmp_path: Path
) -> None:
    made = console(SIZED, "boot", "hvc", "--hvc0", "stdio", "--serial", str(tmp_path / "log"))
    made.shown(b"ends.\n")
    assert made.is_raw()
    made.type(b"a\x03\r")
    assert made.shown(b"\r") == b"a\x03\r"
    made.type(b"\x04")
    assert made.ended() == 0
    assert (tmp_path / "log").read_text() == "99 columns, 33 rows\n"


def test_ctrl_a_x_quits(console: Callable[..., Console]) -> None:
    made = console(BOOT, "boot", "hvc", "--hvc0", "stdio")
    made.shown(b"ends.\n")
    made.type(b"\x01x")
    assert made.ended() == 130


def test_without_the_device_it_says_how_to_get_one() -> None:
    serial = io.BytesIO()
    with Machine(MachineConfig(image="hvc", serial=serial, timeout=60)) as machine:
        assert machine.run().status == 1
    assert b"--hvc0" in serial.getvalue()
