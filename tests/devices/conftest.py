"""A UART on the bench: what it sends, and each change of its IRQ line, is kept."""

import pytest

from ringlet.devices.uart16550 import FCR, FCR_ENABLE, LSR, LSR_DR, RBR, Uart16550


class Line:
    """An IRQ line that keeps every change of its level."""

    def __init__(self) -> None:
        self.levels: list[bool] = []

    def set(self, level: bool) -> None:
        self.levels.append(level)


class Bench:
    """A UART with what the host got from it, and one-byte accesses."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.line = Line()
        self.rooms = 0
        self.uart = Uart16550(self.line, self.sent.extend)
        self.uart.on_room = self.count_room

    def count_room(self) -> None:
        self.rooms += 1

    def __getitem__(self, offset: int) -> int:
        return self.uart.read(offset, 1)

    def __setitem__(self, offset: int, value: int) -> None:
        self.uart.write(offset, 1, value)

    @property
    def irq(self) -> bool:
        return bool(self.line.levels) and self.line.levels[-1]

    def take(self) -> bytes:
        """All that is in the receive FIFO."""
        data = bytearray()
        while self[LSR] & LSR_DR:
            data.append(self[RBR])
        return bytes(data)


@pytest.fixture
def new_bench() -> type[Bench]:
    """For a test that needs more than one."""
    return Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def fifo(bench: Bench) -> Bench:
    """With its FIFOs enabled and the trigger level 1."""
    bench[FCR] = FCR_ENABLE
    return bench
