"""A machine that is paused does nothing, and afterwards goes on as if nothing had been."""

import io
import os
import select
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from ringlet.errors import RingletError
from ringlet.machine.config import MachineConfig
from ringlet.machine.machine import Machine

from ..until import until

pytestmark = [pytest.mark.needs_kvm, pytest.mark.usefixtures("no_leak")]


def exits(machine: Machine) -> int:
    """How many port accesses have left the guest so far."""
    counts = machine.usage().exits
    assert counts is not None
    return counts.get("port", 0)


@pytest.fixture
def flood() -> Iterator[Machine]:
    """Writes to its serial port for ever."""
    config = MachineConfig(image="flood", serial="none", timeout=60)
    with Machine(config) as machine:
        machine.start()
        until(lambda: exits(machine) >= 100)
        yield machine


def test_a_paused_machine_makes_no_exit(flood: Machine) -> None:
    flood.pause()
    before = flood.usage()
    time.sleep(0.1)
    after = flood.usage()
    assert after.exits == before.exits
    assert after.processor - before.processor < 0.05  # type: ignore[operator]
    flood.resume()
    until(lambda: exits(flood) >= before.exits["port"] + 100)  # type: ignore[index]


def test_pauses_dont_add_up(flood: Machine) -> None:
    for _ in range(50):
        flood.pause()
        flood.pause()
        flood.resume()
        flood.resume()
    before = exits(flood)
    until(lambda: exits(flood) >= before + 100)


@pytest.mark.parametrize("end", ["stop", "kill", "close", "timeout"])
def test_a_paused_machine_can_be_ended(end: str) -> None:
    config = MachineConfig(image="spin", serial="none", timeout=0.3 if end == "timeout" else 60)
    with Machine(config) as machine:
        machine.start()
        machine.pause()
        if end == "stop":
            result = machine.stop(30)
            assert result.reason == "stopped"
        elif end == "kill":
            machine.kill()
            result = machine.wait(60)
            assert result is not None
            assert result.reason == "killed"
        elif end == "timeout":
            result = machine.wait(60)
            assert result is not None
            assert result.reason == "timeout"


def test_a_machine_paused_before_it_starts_waits(no_leak: None) -> None:
    with Machine(MachineConfig(image="hello", serial="none", timeout=60)) as machine:
        machine.pause()
        machine.start()
        assert machine.wait(0.3) is None
        assert machine.usage().exits == {}
        machine.resume()
        result = machine.wait(60)
        assert result is not None
        assert result.status == 0


def test_a_pause_after_the_end_returns() -> None:
    with Machine(MachineConfig(image="hello", serial="none")) as machine:
        machine.run()
        machine.pause()
        machine.resume()


def test_several_vcpus_all_stop_also_those_that_halt_or_were_never_started() -> None:
    with Machine(MachineConfig(image="spin", serial="none", cpus=3, timeout=60)) as machine:
        machine.start()
        for _ in range(10):
            machine.pause()
            machine.resume()


def test_a_device_cant_pause_its_own_run() -> None:
    class Pausing:
        def read(self, offset: int, size: int) -> int:
            machine.pause()
            return 0

        def write(self, offset: int, size: int, value: int) -> None: ...

    guest = bytes.fromhex("ba 00 05 ec f4")  # mov dx, 0x500; in al, dx; hlt
    with Machine(MachineConfig(image=guest, protocol="flat", serial="none", timeout=60)) as machine:
        machine.add_port_device(0x500, 1, Pausing())
        with pytest.raises(RingletError, match="own thread"):
            machine.run()


def test_a_disk_rests_in_a_pause_and_loses_nothing(tmp_path: Path) -> None:
    image = tmp_path / "disk.raw"
    image.write_bytes(os.urandom(4 << 20))
    output = io.BytesIO()
    config = MachineConfig(
        image="blk",
        cmdline="bench=flushwrite bs=4096 depth=16 count=1500",
        disks=[os.fspath(image)],
        serial=output,
        timeout=60,
    )
    with Machine(config) as machine:
        machine.start()
        pauses = 0
        while machine.wait(0.01) is None:
            machine.pause()
            before = machine.usage().exits, image.stat().st_mtime_ns
            time.sleep(0.01)
            assert (machine.usage().exits, image.stat().st_mtime_ns) == before
            machine.resume()
            pauses += 1
        result = machine.wait()
    assert result is not None
    assert result.status == 0, output.getvalue()
    assert b"errors=0" in output.getvalue()
    assert pauses > 3


def test_a_pause_waits_for_a_vcpu_that_waits_for_its_reader() -> None:
    read, write = os.pipe()
    try:
        config = MachineConfig(image="flood", serial=(None, write), timeout=60)
        with Machine(config) as machine:
            machine.start()
            time.sleep(0.2)  # the pipe is full by now
            pausing = Thread(target=machine.pause)
            pausing.start()
            while pausing.is_alive():
                if select.select([read], [], [], 0.01)[0]:
                    os.read(read, 65536)
            pausing.join()
            machine.resume()
            machine.kill()
    finally:
        os.close(read)
        os.close(write)
