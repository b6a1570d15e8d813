"""`ringlet boot IMAGE --show`: lists the devices of a machine, in a table or as JSON."""

from __future__ import annotations

import os

from ringlet.cli.answer import print_json
from ringlet.machine.config import from_mapping
from ringlet.machine.machine import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ringlet.board.board import Placed
    from ringlet.board.bus import Ranges
    from ringlet.kvm.vm import Vm


def show(values: dict[str, Any], *, as_json: bool, vm: Vm | None) -> int:
    """Makes the machine of `values`, for `MachineConfig`, and prints its devices; runs nothing.

    The files of serial lines aren't opened, since to open a file empties it. Raises `RingletError`.
    """
    lines = {line: "none" for line in ("com2", "com3", "hvc0") if values.get(line) is not None}
    config = from_mapping(values | lines | {"serial": "none", "force": True})
    with Machine(config, vm=vm) as machine:
        if as_json:
            print_json(
                {
                    "cpus": config.cpus,
                    "memory": [[region.address, region.size] for region in machine.memory.regions],
                    "devices": [_as_json(placed) for placed in machine.devices],
                }
            )
        else:
            _print_table(machine)
    return 0


def _as_json(placed: Placed) -> dict[str, Any]:
    return {
        "name": placed.name,
        "in_kvm": placed.device is None,
        "ports": [list(place) for place in placed.ports],
        "mmio": [list(place) for place in placed.mmio],
        "irq": placed.irq,
        "state": _hexadecimal(placed.state),
    }


def _hexadecimal(state: Any) -> Any:
    """Returns `state` with its bytes as hexadecimal text, since JSON has no bytes."""
    if isinstance(state, dict):
        return {name: _hexadecimal(value) for name, value in state.items()}
    if isinstance(state, list):
        return [_hexadecimal(value) for value in state]
    return state.hex() if isinstance(state, bytes) else state


def _print_table(machine: Machine) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from ringlet.cli.rich_console import OutputConsole

    config = machine.config
    name = "an image" if isinstance(config.image, bytes) else os.fspath(config.image)
    memory = sum(region.size for region in machine.memory.regions)
    cpus = "1 vCPU" if config.cpus == 1 else f"{config.cpus} vCPUs"
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Device", style="bold cyan")
    table.add_column("Place")
    table.add_column("Interrupt", justify="right")
    table.add_column("Answered by")
    for placed in machine.devices:
        table.add_row(
            placed.name,
            "\n".join([*_ranges("port", placed.ports), *_ranges("memory", placed.mmio)]),
            "" if placed.irq is None else str(placed.irq),
            "KVM" if placed.device is None else "ringlet",
        )
    console = OutputConsole(highlight=False)
    console.print(f"{name}: {cpus}, {memory >> 20} MiB of RAM", markup=False)
    console.print(table)


def _ranges(what: str, places: Ranges) -> Iterator[str]:
    for first, count in places:
        end = "" if count == 1 else f" to {first + count - 1:#x}"
        yield f"{what} {first:#x}{end}"
