"""`ringlet boot IMAGE --show`: what the machine has, and nothing runs."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ..boot.bzimage_builder import bzimage
from .command import refused, run, without_reader

pytestmark = pytest.mark.needs_kvm


def shown(*arguments: str | Path) -> dict[str, Any]:
    result = run("boot", *arguments, "--show", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    report: dict[str, Any] = json.loads(result.stdout, parse_constant=pytest.fail)
    return report


def test_a_table_has_each_device_with_its_place_and_its_interrupt() -> None:
    result = run("boot", "hello", "--show", "--memory", "32M", "--cpus", "2", "--com2", "none")
    assert (result.returncode, result.stderr) == (0, "")
    title, *lines = result.stdout.splitlines()
    assert title == "hello: 2 vCPUs, 32 MiB of RAM"
    rows = [line.split() for line in lines]
    assert ["com1", "port", "0x3f8", "to", "0x3ff", "4", "ringlet"] in rows
    assert ["com2", "port", "0x2f8", "to", "0x2ff", "3", "ringlet"] in rows
    assert ["exit-port", "port", "0xf4", "ringlet"] in rows
    assert ["io-apic", "memory", "0xfec00000", "to", "0xfec00fff", "KVM"] in rows
    assert all(len(line) <= 80 for line in lines)


def test_programs_get_numbers_and_states(tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(bytes(1 << 20))
    report = shown("hello", "--memory", "4G", "--disk", disk)
    assert report["cpus"] == 1
    assert report["memory"] == [[0, 3 << 30], [4 << 30, 1 << 30]]
    devices = {device["name"]: device for device in report["devices"]}
    assert devices["com1"] | {"state": None} == {
        "name": "com1",
        "in_kvm": False,
        "ports": [[0x3F8, 8]],
        "mmio": [],
        "irq": 4,
        "state": None,
    }
    assert devices["com1"]["state"]["divisor"] == 12
    assert devices["virtio-block"]["mmio"] == [[0xD000_0000, 0x1000]]
    assert devices["virtio-block"]["state"]["queues"][0]["size"] == 256
    assert devices["pic"]["in_kvm"] is True


def test_the_guest_does_not_run_and_no_file_is_emptied(tmp_path: Path) -> None:
    console = tmp_path / "console"
    console.write_text("of yesterday")
    result = run("boot", "spin", "--show", "--serial", console, "--com2", console)
    assert result.returncode == 0
    assert console.read_text() == "of yesterday"


def test_a_linux_kernel_is_shown_also_where_it_could_not_run(tmp_path: Path) -> None:
    kernel = tmp_path / "vmlinuz"
    kernel.write_bytes(bzimage())
    names = [device["name"] for device in shown(kernel)["devices"]]
    assert "pit" in names  # which Linux expects


def test_a_reader_that_has_gone_is_told_by_the_status() -> None:
    assert without_reader("boot", "hello", "--show") == (141, b"")


def test_what_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    assert "absent" in refused(run("boot", os.fspath(tmp_path / "absent"), "--show"))
