"""Registers by their offsets in the specification (virtio 1.2, 4.2.2), and a device behind them."""

import os
import select
import time

from .rig import Rig, Scripted

DEVICE_FEATURES, DEVICE_FEATURES_SEL, DRIVER_FEATURES, DRIVER_FEATURES_SEL = 0x10, 0x14, 0x20, 0x24
QUEUE_SEL, QUEUE_SIZE_MAX, QUEUE_SIZE, QUEUE_READY, QUEUE_NOTIFY = 0x30, 0x34, 0x38, 0x44, 0x50
INTERRUPT_STATUS, INTERRUPT_ACK, STATUS = 0x60, 0x64, 0x70
CONFIG_GENERATION, CONFIG = 0xFC, 0x100
WRITE_ONLY = [0x14, 0x20, 0x24, 0x30, 0x38, 0x50, 0x64, 0x80, 0x84, 0x90, 0x94, 0xA0, 0xA4, 0xAC]
READ_ONLY = [0x00, 0x04, 0x08, 0x0C, 0x10, 0x34, 0x60, 0xB0, 0xB4, 0xB8, 0xBC, 0xFC]

ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED = 1, 2, 4, 8, 64, 128
READY = ACKNOWLEDGE | DRIVER | FEATURES_OK

VERSION_1, EVENT_IDX, INDIRECT_DESC, IN_ORDER = 1 << 32, 1 << 29, 1 << 28, 1 << 35
OWN = 1 << 3 | 1 << 20


class Device(Scripted):
    """One with features and a configuration space."""

    features = OWN
    config = bytes(range(1, 12))  # not a whole number of words

    def __init__(self) -> None:
        super().__init__()
        self.written: list[tuple[int, bytes]] = []

    def write_config(self, offset: int, data: bytes) -> None:
        self.written.append((offset, data))


def interrupted(made: Rig) -> bool:
    """Whether there was an interrupt since the last look."""
    fd = made.transport.interrupt_fd
    there = bool(select.select([fd], [], [], 0)[0])
    if there:
        os.eventfd_read(fd)
    return there


def settle(made: Rig) -> None:
    """The device has done what it was notified of."""
    made.transport.quiesce()
    made.transport.resume()
    time.sleep(0.01)
