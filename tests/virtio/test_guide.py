"""The examples of docs/virtio.md are working devices."""

import re
from pathlib import Path
from typing import Any

import pytest

from ..until import until
from .driver import WRITE
from .rig import rig

GUIDE = Path(__file__).parents[2] / "docs" / "virtio.md"

pytestmark = pytest.mark.usefixtures("no_leak")


def example(name: str) -> Any:
    """A device of the class `name` in the guide."""
    names: dict[str, Any] = {}
    for program in re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL):
        if f"class {name}(" in program:
            exec(program, names)
    return names[name]()


def test_the_entropy_device_of_the_guide_fills_buffers() -> None:
    with rig(example("Entropy")) as made:
        (queue,) = made.start()
        assert queue.request([(0x8000, 64, WRITE), (0x9000, 100, WRITE)]) == 164
        first, second = made.memory.read(0x8000, 64), made.memory.read(0x9000, 100)
        assert len(set(first + second)) > 64  # of 256 values
        assert made.memory.read(0x8000 + 64, 64) == bytes(64)


def test_the_console_of_the_guide_talks_both_ways() -> None:
    console = example("Console")
    with rig(console) as made:
        receiving, sending = made.start()
        receiving.offer(receiving.chain([(0x8000, 4, WRITE)]))
        receiving.notify()
        made.memory.write(0x9000, b"hello")
        assert sending.request([(0x9000, 2, 0), (0x9002, 3, 0)]) == 0
        assert console.output == b"hello"
        until(lambda: console.empty)
        assert receiving.used_index == 0
        assert console.type(b"typed")
        assert receiving.take() == (0, 4)
        assert made.memory.read(0x8000, 5) == b"type\0"


def test_the_console_of_the_guide_survives_a_reset() -> None:
    console = example("Console")
    with rig(console) as made:
        for _ in range(3):
            receiving, _ = made.start()
            receiving.offer(receiving.chain([(0x8000, 4, WRITE)]))
            receiving.notify()
            until(lambda: console.empty)
            made.write(0x70, 0)
            assert not console.empty
