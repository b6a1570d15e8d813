"""Signals: handled for a while, and polled for."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from ringlet.host.polling import wait
from ringlet.host.signals import Handlers, Signals

pytestmark = pytest.mark.usefixtures("no_leak")


@pytest.fixture
def ignored() -> Iterator[int]:
    """A signal that our parent ignores."""
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    yield signal.SIGUSR2
    signal.signal(signal.SIGUSR2, before)


def test_signals_come_as_numbers_and_handlers_are_put_back(ignored: int) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    came: list[int] = []
    with closing(Signals((signal.SIGUSR1, ignored), came.append)) as signals:
        for number in (signal.SIGUSR1, ignored, signal.SIGUSR1):
            os.kill(os.getpid(), number)
            signals.step(wait([signals], 0))
    assert came == [signal.SIGUSR1, signal.SIGUSR1]
    assert signal.getsignal(signal.SIGUSR1) is before


def test_a_signal_that_another_handles_is_not_handed_on() -> None:
    came: list[int] = []
    with Signals([signal.SIGUSR1], came.append) as signals:
        with Handlers([signal.SIGCONT], lambda number, frame: None):
            os.kill(os.getpid(), signal.SIGCONT)
        os.kill(os.getpid(), signal.SIGUSR1)
        signals.step(wait([signals], 60))
    assert came == [signal.SIGUSR1]


def test_handlers_on_top_of_others_give_way_to_them_again(ignored: int) -> None:
    outer: list[int] = []
    inner: list[int] = []

    def to(heard: list[int]) -> Any:
        return lambda number, frame: heard.append(number)

    with Handlers([signal.SIGUSR1], to(outer)):
        on_top = Handlers([signal.SIGUSR1, ignored], to(inner))
        os.kill(os.getpid(), signal.SIGUSR1)
        on_top.close()
        on_top.close()  # harmless
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), ignored)
    assert (inner, outer) == ([signal.SIGUSR1], [signal.SIGUSR1])
