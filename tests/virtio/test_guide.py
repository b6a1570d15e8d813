"""The example of docs/virtio.md is a working device."""

import re
from pathlib import Path
from typing import Any

from ringlet.kvm.memory import GuestMemory, anonymous
from ringlet.virtio.mmio import VirtioMmio

from .driver import WRITE, Driver

GUIDE = Path(__file__).parents[2] / "docs" / "virtio.md"


def test_the_entropy_device_of_the_guide_fills_buffers() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(program, names)
    errors: list[BaseException] = []
    with (
        GuestMemory([anonymous(0, 1 << 20)]) as memory,
        VirtioMmio(names["Entropy"](), memory, errors.append) as transport,
    ):
        transport.start()
        (queue,) = Driver(transport, memory).start()
        assert queue.request([(0x8000, 64, WRITE), (0x9000, 100, WRITE)]) == 164
        first, second = memory.read(0x8000, 64), memory.read(0x9000, 100)
        assert len(set(first + second)) > 64  # of 256 values
        assert memory.read(0x8000 + 64, 64) == bytes(64)
    assert errors == []
