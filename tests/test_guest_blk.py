"""The guest `blk`, natively: its own driver against our device, on real files."""

import hashlib
import io
import os
import re
import struct
from pathlib import Path

import pytest

from ringlet import Machine, MachineConfig, Result
from ringlet.machine.config import Disk

pytestmark = [pytest.mark.needs_kvm, pytest.mark.usefixtures("no_leak")]

MIB = 1 << 20
TESTED = 8 * 512  # bytes, at the start of the disk
BENCHES = [
    "bench=read bs=4096 depth=1 count=40",
    "bench=read bs=4096 depth=16 count=100",
    "bench=read pattern=sequential bs=1048576 depth=16 count=40",
    "bench=write bs=512 depth=16 count=100",
    "bench=write pattern=sequential bs=1048576 depth=1 count=20",
    "bench=flushwrite bs=4096 depth=16 count=40",
    "bench=flushwrite bs=4096 depth=1 count=10",
]


def blk(*disks: Disk | str, cmdline: str = "") -> tuple[Result, str]:
    output = io.BytesIO()
    config = MachineConfig(image="blk", disks=disks, cmdline=cmdline, serial=output, timeout=60)
    with Machine(config) as machine:
        result = machine.run()
    return result, output.getvalue().decode()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    path.write_bytes(os.urandom(4 * MIB))
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_it_writes_reads_back_and_leaves_the_disk_as_it_was(image: Path) -> None:
    before = digest(image)
    result, output = blk(os.fspath(image))
    assert (result.reason, result.status) == ("exit-port", 0)
    assert "8192 sectors of 512 bytes" in output
    assert "it is 'disk.raw'" in output
    assert "they are the same: ok" in output
    assert "read past the end: refused: ok" in output
    assert "FAILED" not in output
    assert digest(image) == before


def test_what_it_keeps_is_in_the_file(image: Path) -> None:
    before = image.read_bytes()
    assert blk(os.fspath(image), cmdline="keep")[0].status == 0
    after = image.read_bytes()
    words = struct.unpack(f"<{TESTED // 8}Q", before[:TESTED])
    written = (word ^ (i + 1) * 0x9E3779B97F4A7C15 % 2**64 for i, word in enumerate(words))
    assert after[:TESTED] == struct.pack(f"<{TESTED // 8}Q", *written)
    assert after[TESTED:] == before[TESTED:]


def test_a_readonly_disk_is_read_and_stays_as_it_is(image: Path) -> None:
    before = digest(image)
    result, output = blk(f"{image},readonly", cmdline="keep")
    assert result.status == 0
    assert "it is read-only" in output
    assert digest(image) == before


def test_a_snapshot_takes_writes_that_the_image_never_sees(image: Path) -> None:
    before = digest(image)
    result, output = blk(Disk(image, snapshot=True), cmdline="keep")
    assert result.status == 0
    assert "they are the same: ok" in output
    assert digest(image) == before


def test_it_drives_the_first_of_several_disks(image: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.raw"
    second.write_bytes(bytes(MIB))
    result, output = blk(os.fspath(image), os.fspath(second), cmdline="keep")
    assert result.status == 0
    assert "it is 'disk.raw'" in output
    assert second.read_bytes() == bytes(MIB)


def test_with_no_disk_it_says_so() -> None:
    result, output = blk()
    assert result.status == 1
    assert "there is no disk" in output


def test_an_error_of_the_host_is_one_of_that_request(image: Path) -> None:
    output = io.BytesIO()
    config = MachineConfig(image="blk", disks=[os.fspath(image)], serial=output, timeout=60)
    with Machine(config) as machine:
        os.truncate(image, 0)  # cut short while it is in use
        result = machine.run()
    assert result.status == 1
    assert "read 8 sectors: FAILED" in output.getvalue().decode()


@pytest.mark.parametrize("words", BENCHES)
def test_many_requests_in_flight_all_succeed(image: Path, words: str) -> None:
    result, output = blk(os.fspath(image), cmdline=words)
    assert result.status == 0, output
    report = dict(re.findall(r"(\w+)=(\d+)", output))
    assert report["errors"] == "0"
    assert report["count"] == re.findall(r"count=(\d+)", words)[0]
    # The vCPU's exits are the driver's few registers and the interrupts', not the notifications.
    assert result.exits["mmio"] < 2 * int(report["interrupts"]) + 60


def test_a_request_costs_no_exit_but_those_of_its_interrupt(image: Path) -> None:
    few = blk(os.fspath(image), cmdline="bench=read depth=1 count=10")
    many = blk(os.fspath(image), cmdline="bench=read depth=1 count=210")
    interrupts = [int(re.findall(r"interrupts=(\d+)", output)[0]) for _, output in (few, many)]
    exits = many[0].exits["mmio"] - few[0].exits["mmio"]
    assert exits == 2 * (interrupts[1] - interrupts[0])
