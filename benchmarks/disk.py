"""A disk's requests, from a guest with a driver of our own, natively."""

import os
import re
import tempfile
from pathlib import Path
from threading import Event, Thread

from measure import MEMORY_MIB, QEMU_STATUS, Row, guest, qemu, run

from ringlet.machine.config import MachineConfig
from ringlet.machine.machine import Machine

ROUNDS = 9
IMAGE_MIB = 256
PORT_EXITS = 20_000

# What is measured: the words for guests/blk, and how many requests it takes.
WORK = {
    "4 KiB random read": ("bench=read pattern=random bs=4096", 3000),
    "4 KiB random write, flush": ("bench=flushwrite pattern=random bs=4096", 400),
    "1 MiB sequential read": ("bench=read pattern=sequential bs=1048576", 400),
    "1 MiB sequential write": ("bench=write pattern=sequential bs=1048576", 400),
}
DEPTHS = (1, 16)


def _tsc_mhz() -> float:
    """What the guest's cycles are: an invariant time stamp counter runs at the nominal rate."""
    words = Path("/proc/cpuinfo").read_text()
    found = re.search(r"cpu MHz\s*: ([\d.]+)", words)
    assert found is not None
    return float(found[1])


def _microseconds(output: str, mhz: float) -> float:
    """Of each request, by the guest's own report."""
    report = dict(re.findall(r"(\w+)=(\d+)", output[output.index("bench:") :]))
    assert report["errors"] == "0", output
    return int(report["cycles"]) / mhz / int(report["count"])


def _ours(image: str, words: str) -> str:
    config = MachineConfig(image="blk", memory=MEMORY_MIB << 20, cmdline=words, disks=[image])
    with Machine(config) as machine:
        machine.start()
        output = b""
        while data := machine.serial.read():
            output += data
        machine.wait()
    return output.decode()


def _qemu(image: str, words: str) -> str | None:
    command = qemu(
        guest("blk"),
        *("-append", words, "-global", "virtio-mmio.force-legacy=false"),
        *("-drive", f"if=none,id=d,file={image},format=raw"),
        *("-device", "virtio-blk-device,drive=d"),
        machine="microvm,pic=off,pit=off,rtc=off,acpi=off",  # else the guest isn't told of it
    )
    return None if command is None else run(command, status=QEMU_STATUS)


def _port_exit(image: str | None, words: str) -> float:
    """Microseconds of a port exit while another machine of the process is busy with `words`."""
    stop = Event()

    def keep_busy() -> None:
        while not stop.is_set():
            disks = [] if image is None else [image]
            with Machine(
                MachineConfig(
                    image="blk" if image else "spin",
                    cmdline=words,
                    disks=disks,
                    serial="none",
                    timeout=0.5,
                )
            ) as machine:
                machine.run()

    thread = Thread(target=keep_busy)
    thread.start()
    try:
        config = MachineConfig(image="ports", cmdline=f"count={PORT_EXITS}", serial="none")
        with Machine(config) as machine:
            result = machine.run()
            assert machine.timings.end is not None
            assert machine.timings.first_exit is not None
            elapsed = machine.timings.end - machine.timings.first_exit
            return elapsed / 1e3 / (sum(result.exits.values()) - 1)
    finally:
        stop.set()
        thread.join()


def measure() -> list[Row]:
    """Requests of guests/blk to a raw image: at most 1.25 times as long as QEMU's; aim 1.0.

    The image is in the host's page cache; a flush goes to the host's disk.
    """
    mhz = _tsc_mhz()
    rows = []
    with tempfile.NamedTemporaryFile(dir="/var/tmp", suffix=".raw") as file:
        block = os.urandom(1 << 20)
        for _ in range(IMAGE_MIB):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        for what, (words, count) in WORK.items():
            for depth in DEPTHS:
                asked = f"{words} depth={depth} count={count}"
                ours: list[float] = []
                theirs: list[float] = []
                for _ in range(ROUNDS):
                    ours.append(_microseconds(_ours(file.name, asked), mhz))
                    output = _qemu(file.name, asked)
                    if output is not None:
                        theirs.append(_microseconds(output, mhz))
                name = f"{what}, depth {depth}"
                rows.append(Row(name, "us", ours, "QEMU", theirs, limit=1.25, aim=1.0))
        busy, spinning = [], []
        for _ in range(ROUNDS):
            busy.append(_port_exit(file.name, "bench=read bs=4096 depth=16 count=1000000"))
            spinning.append(_port_exit(None, ""))
    rows.append(Row("a port exit, disk thread busy", "us", busy, "spinning guest", spinning))
    return rows
