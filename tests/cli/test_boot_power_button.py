"""SIGTERM asks a guest to power off that listens for the button; a second signal ends it."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ..machine_code import OBEYS, REFUSES
from .command import CODE, ENVIRONMENT, LONG, Running, write_image

pytestmark = pytest.mark.needs_kvm

IMPATIENT = "import ringlet.cli.foreground as f; f.STOP_TIMEOUT = 0.3\n"


def test_sigterm_lets_a_guest_power_off(tmp_path: Path) -> None:
    with Running("boot", write_image(tmp_path, OBEYS), "--json") as command:
        command.complain(b".")
        command.process.terminate()
        assert command.status() == 0
        assert command.process.stdout is not None
        report = json.loads(command.process.stdout.read())
    assert report["exit"] == {"reason": "power-off", "status": 0}


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_guest_that_does_not_obey(
    second: signal.Signals, tmp_path: Path
) -> None:
    with Running("boot", write_image(tmp_path, REFUSES)) as command:
        command.read_until(b".")
        command.process.terminate()
        command.read_until(b"!")
        command.process.send_signal(second)
        assert command.status() == 143


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_other_signals_end_a_guest_at_once(number: signal.Signals, tmp_path: Path) -> None:
    with Running("boot", write_image(tmp_path, REFUSES)) as command:
        command.read_until(b".")
        command.process.send_signal(number)
        assert command.status() == 128 + number
        assert command.process.stdout is not None
        assert command.process.stdout.read() == b"", "it wasn't asked"


def test_a_guest_that_does_not_obey_ends_when_the_time_is_over(tmp_path: Path) -> None:
    image = str(write_image(tmp_path, REFUSES))
    with subprocess.Popen(
        [sys.executable, "-c", IMPATIENT + CODE, "boot", image],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"."
        process.terminate()
        assert process.wait(LONG) == 143
        assert process.stdout.read() == b"!"
