"""Many chains with one call: from the queue, and by a device that takes batches."""

from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.kvm.memory import GuestMemory
from ringlet.virtio.device import KEPT, Kept, VirtioDevice
from ringlet.virtio.queue import Chain, DriverError

from ..until import until
from .driver import WRITE, Queue
from .queue_pair import Pair, seen, three_regions
from .rig import rig

MOST = 64


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    with three_regions() as memory:
        yield memory


def offer(queue: Queue, chains: Sequence[Sequence[tuple[int, int, int]]]) -> None:
    first = 0
    for buffers in chains:
        queue.offer(queue.chain(buffers, first))
        first += len(buffers)


def plain(chain: Chain) -> tuple[int, list[tuple[int, int]], list[tuple[int, int]]]:
    return chain.head, seen(chain.readable), seen(chain.writable)


BUFFERS = st.lists(
    st.tuples(st.integers(0x4000, 0x8000), st.integers(0, 100), st.just(0)), min_size=1, max_size=4
)


@given(st.lists(BUFFERS, max_size=100), st.integers(0, 200))
def test_a_batch_is_what_one_after_the_other_would_be(
    chains: list[list[tuple[int, int, int]]], wrap: int
) -> None:
    with three_regions() as memory:
        found = []
        for take in ("pop", "pop_batch"):
            pair = Pair(memory, 1024)
            memory.write(pair.driver.available, bytes(4))
            for _ in range(wrap):
                pair.pop((0x4000, 1, 0))
            offer(pair.driver, chains)
            taken: list[tuple[int, list[tuple[int, int]], list[tuple[int, int]]]] = []
            while True:
                some = pair.device.pop_batch() if take == "pop_batch" else [pair.device.pop()]
                if not some or some[0] is None:
                    break
                assert len(some) <= MOST
                taken += [plain(chain) for chain in some if chain is not None]
            found.append(taken)
            pair.device.disable()
        assert found[0] == found[1]
        assert len(found[0]) == len(chains)


def test_a_wrong_chain_is_told_once_it_is_the_first(memory: GuestMemory) -> None:
    pair = Pair(memory)
    offer(pair.driver, [[(0x4000, 1, 0)], [(0x4000, 2, WRITE)], [(1 << 60, 1, 0)]])
    assert [plain(chain)[0] for chain in pair.device.pop_batch()] == [0, 1]
    with pytest.raises(DriverError, match="descriptor 2"):
        pair.device.pop_batch()


def test_the_longest_chains_come_in_batches_too(memory: GuestMemory) -> None:
    pair = Pair(memory, 1024)
    long = [(0x4000, 1, 0)] * 1024
    pair.driver.chain(long)
    for _ in range(4):
        pair.driver.offer(0)
    counts = []
    while batch := pair.device.pop_batch():
        counts.append([len(chain.readable) for chain in batch])
    assert counts == [[1024, 1024], [1024, 1024]]


class Batches(VirtioDevice):
    """Answers on queue 0 at once, and keeps what comes on queue 1."""

    device_id = 42
    queue_sizes = (128, 128)
    batches = True

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.kept: list[Chain] = []

    def handle_batch(self, queue: int, chains: Sequence[Chain]) -> Sequence[int] | Kept:
        self.sizes.append(len(chains))
        if queue == 1:
            self.kept += chains
            return KEPT
        for number, chain in enumerate(chains):
            chain.writable[0][:1] = bytes((number,))
        return [number % 7 for number in range(len(chains))]

    def reset(self) -> None:
        self.kept.clear()

    def fill(self, sizes: Sequence[int]) -> Callable[[], Sequence[int]]:
        return lambda: sizes


@pytest.mark.usefixtures("no_leak")
def test_a_device_takes_what_waits_at_once() -> None:
    device = Batches()
    with rig(device) as made:
        queue, _ = made.start(size=128)
        made.transport.quiesce()
        for slot in range(100):
            queue.offer(queue.chain([(0x8000 + slot, 1, WRITE)], slot))
        made.transport.resume()
        queue.notify()
        assert [queue.take() for _ in range(100)] == [
            (slot, slot % MOST % 7) for slot in range(100)
        ]
        assert device.sizes == [64, 36]
        assert made.memory.read(0x8000, 100) == bytes(slot % MOST for slot in range(100))


@pytest.mark.usefixtures("no_leak")
def test_kept_chains_are_completed_together_or_not_at_all() -> None:
    device = Batches()
    with rig(device) as made:
        _, queue = made.start()
        for slot in range(4):
            queue.offer(queue.chain([(0x8000 + slot, 1, WRITE)], slot))
        queue.notify()
        until(lambda: len(device.kept) == 4)
        first, second, third, fourth = device.kept
        complete = device.queues[1].complete_batch
        assert complete([second, first], device.fill([1, 0]))
        assert [queue.take() for _ in range(2)] == [(1, 1), (0, 0)]
        assert not complete([third, first], device.fill([1, 1]))
        assert made.transport.state["queues"][1]["kept"] == [2, 3]
        assert complete([third], device.fill([1]))
        made.write(0x70, 0)
        assert not complete([fourth], device.fill([1]))
