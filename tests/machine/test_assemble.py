"""The devices of a machine: one list of all of them, each with its place and its state."""

from pathlib import Path
from typing import Any

import pytest

from ringlet import Machine, MachineConfig, RingletError
from ringlet.board import layout
from ringlet.board.board import Placed
from ringlet.kvm.ahead import make_vm

from ..machine_code import OUT_DX_AL, exit_with, machine

pytestmark = [pytest.mark.needs_kvm, pytest.mark.usefixtures("no_leak")]

PLAIN = (int, float, bool, str, bytes, type(None))


def is_plain(state: Any) -> bool:
    if isinstance(state, dict):
        return all(isinstance(name, str) and is_plain(value) for name, value in state.items())
    return all(map(is_plain, state)) if isinstance(state, list) else isinstance(state, PLAIN)


def by_name(made: Machine) -> dict[str, Placed]:
    return {placed.name: placed for placed in made.devices}


def test_every_device_of_a_machine_is_listed_with_its_place(tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(bytes(1 << 20))
    options: dict[str, Any] = {
        "com2": "none",
        "com3": "none",
        "pit": True,
        "disks": [f"{disk}"] * 1,
    }
    with Machine(MachineConfig(image="hello", serial="none", **options)) as made:
        found = {name: (p.ports, p.mmio, p.irq) for name, p in by_name(made).items()}
    assert {name: [*ports, *mmio] for name, (ports, mmio, _) in found.items()} == {
        "pic": [(0x20, 2), (0xA0, 2), (0x4D0, 2)],
        "io-apic": [(0xFEC0_0000, 0x1000)],
        "local-apic": [(0xFEE0_0000, 0x1000)],
        "pit": [(0x40, 4), (0x61, 1)],
        "cmos": [(0x70, 2)],
        "pvpanic": [(0x505, 1)],
        "exit-port": [(0xF4, 1)],
        "keyboard": [(0x64, 1)],
        "keyboard-data": [(0x60, 1)],
        "system-control": [(0x92, 1)],
        "reset-control": [(0xCF8, 4)],
        "cursor": [(0x3D4, 2)],
        "pm1-event": [(0x600, 4)],
        "pm1-control": [(0x604, 2)],
        "com1": [(0x3F8, 8)],
        "com2": [(0x2F8, 8)],
        "com3": [(0x3E8, 8)],
        "virtio-block": [(0xD000_0000, 0x1000)],
    }
    interrupts = {name: irq for name, (_, _, irq) in found.items() if irq is not None}
    uarts = {"com1": 4, "com2": 3, "com3": 5}
    assert interrupts == {"pit": 0, "pm1-event": 9, **uarts, "virtio-block": 16}


def test_every_access_that_a_device_answers_is_in_its_place() -> None:
    """Nothing is on the buses and not in the list."""
    with machine(exit_with(0)) as made:
        listed = {
            port
            for placed in made.devices
            if placed.device is not None
            for first, count in placed.ports
            for port in range(first, first + count)
        }
        assert set(made.board.ports._claims) == listed


def test_states_are_plain_values_and_change_with_the_guest() -> None:
    code = (
        b"\xba\xff\x03\xb0\x5a" + OUT_DX_AL  # mov dx, COM1's SCR; mov al, 0x5a
        + b"\xb0\x0f\xe6\x70"  # CMOS register 0xf
        + b"\xb0\x60\xe6\x64"  # the keyboard controller's command byte comes next
        + b"\xba\x02\x06\xb0\x21" + OUT_DX_AL  # PM1_EN
        + b"\xba\x05\x06\xb0\x04" + OUT_DX_AL  # SLP_TYP
        + exit_with(0)
    )  # fmt: skip
    with machine(code) as made:
        before = {name: placed.state for name, placed in by_name(made).items()}
        made.run()
        after = {name: placed.state for name, placed in by_name(made).items()}
    assert all(map(is_plain, [*before.values(), *after.values()]))
    assert after["com1"]["scr"] == 0x5A
    assert after["cmos"]["index"] == 0xF
    assert after["keyboard"]["expects"] == 0x60
    assert after["pm1-event"] == {"status": 0, "enable": 0x21}
    assert after["pm1-control"]["value"] == 0x0401
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"com1", "cmos", "keyboard", "pm1-event", "pm1-control"}


def test_the_state_of_a_disks_device_has_registers_and_queues(tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(bytes(1 << 20))
    config = MachineConfig(image="blk", disks=[f"{disk}"], serial="none", timeout=60)
    with Machine(config) as made:
        before = by_name(made)["virtio-block"].state
        assert made.run().status == 0
        after = by_name(made)["virtio-block"].state
    assert is_plain(after)
    assert before["status"] == 0
    assert before["queues"][0]["ready"] is False
    assert after["status"] & 0xF == 0xF
    (queue,) = after["queues"]
    assert queue["ready"] is True
    assert queue["next_available"] == queue["next_used"] == queue["published"] > 0
    assert queue["kept"] == []
    assert all(queue["addresses"])


def test_a_programs_own_devices_are_listed_by_their_class() -> None:
    class Blinker:
        def __init__(self) -> None:
            self.state = {"lit": True}

        def read(self, offset: int, size: int) -> int:
            return 0

        def write(self, offset: int, size: int, value: int) -> None: ...

    with machine(exit_with(0)) as made:
        made.add_port_device(0x700, 4, Blinker())
        made.add_mmio_device(layout.VIRTIO_MMIO, 8, Blinker())
        ports, mmio = made.devices[-2:]
    assert (ports.name, list(ports.ports), ports.state) == ("Blinker", [(0x700, 4)], {"lit": True})
    assert (mmio.name, list(mmio.mmio)) == ("Blinker-2", [(layout.VIRTIO_MMIO, 8)])


def test_the_list_is_a_copy() -> None:
    with machine(exit_with(0)) as made:
        made.devices.clear()
        assert made.devices


@pytest.mark.parametrize("pit", [False, True])
def test_a_vm_that_was_made_ahead_is_the_machines_and_closed_with_it(pit: bool) -> None:
    vm = make_vm()
    assert vm is not None
    with Machine(MachineConfig(image="hello", serial="none", pit=pit), vm=vm) as made:
        assert made.vm is vm
        assert made.run().status == 0
    assert vm.fd == -1


@pytest.mark.parametrize(
    "options", [{"image": "/absent"}, {"cpus": 1000}, {"disks": ["/absent"]}, {"memory": 4096}]
)
def test_a_vm_that_was_made_ahead_is_closed_where_the_machine_cannot_be_opened(
    options: dict[str, Any],
) -> None:
    vm = make_vm()
    config = MachineConfig(**{"image": "hello", "serial": "none"} | options)
    with pytest.raises(RingletError):
        Machine(config, vm=vm)
    assert vm is not None
    assert vm.fd == -1
