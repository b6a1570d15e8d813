"""The tracer, on real machines: each exit is traced, with what the guest did."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from threading import Thread

import pytest

from ringlet import Machine, MachineConfig, RingletError
from ringlet.kvm.core import lib
from ringlet.kvm.vcpu import KIND_SHIFT
from ringlet.observe.exits.exit_event import Exit
from ringlet.observe.exits.tracer import ExitTracer
from ringlet.observe.trace.filters import Filter
from ringlet.observe.trace.summary import Summary

from ... import machine_code as code
from ...until import until

pytestmark = [pytest.mark.needs_kvm, pytest.mark.usefixtures("no_leak")]

HELLO = b"Hello, ring 0!\n"


@contextmanager
def machine(image: str | bytes, **options: object) -> Iterator[Machine]:
    options = {"serial": "none", "timeout": 60.0, **options}
    if isinstance(image, bytes):
        options["protocol"] = "flat"
    with Machine(MachineConfig(image=image, **options)) as made:  # type: ignore[arg-type]
        yield made


def traced(
    image: str | bytes, wanted: Filter | None = None, **options: object
) -> tuple[list[Exit], Summary]:
    """All exits of a run, and their summary, which agree with KVM's own count."""
    exits: list[Exit] = []
    with machine(image, **options) as made:
        tracer = ExitTracer(made, wanted, exits.extend)
        result = made.run()
        tracer.finish()
        if wanted is None:
            assert len(exits) == tracer.summary.count == sum(result.exits.values())
            for kind, times in tracer.summary.by_kind().items():
                assert times.count == result.exits[kind]
    return exits, tracer.summary


def test_hello_is_told_from_its_first_exit_to_its_last() -> None:
    exits, _ = traced("hello")
    first, second, *bytes_, exit_, last = exits
    assert (first.device, first.register, first.access, first.value) == ("com1", "FCR", "write", 1)
    assert (second.register, second.access, second.value) == ("LSR", "read", 0x60)
    assert second.instruction == "in al, dx"
    assert bytes(each.value or 0 for each in bytes_) == HELLO
    for each in bytes_:
        assert (each.kind, each.port, each.size, each.register) == ("port", 0x3F8, 1, "THR")
        assert each.instruction == "rep outsb dx, byte ptr [esi]"
        assert each.function == bytes_[0].function
        assert (each.function or "").startswith("pvh_start+")
    assert (exit_.device, exit_.register, exit_.value) == ("exit-port", "STATUS", 0)
    assert exit_.instruction == "out 0xf4, al"
    assert (last.kind, last.instruction, last.python) == ("interrupted", None, None)


def test_times_grow_and_are_no_longer_than_the_run() -> None:
    begin = time.monotonic()
    exits, summary = traced("hello")
    took = time.monotonic() - begin
    assert [each.time for each in exits] == sorted(each.time for each in exits)
    assert 0 < exits[-1].time <= summary.seconds <= took
    assert sum(each.guest + each.kvm + (each.python or 0) for each in exits) <= summary.seconds
    for before, after in pairwise(exits):
        assert before.time + (before.python or 0) <= after.time - after.kvm - after.guest + 1e-9


def test_a_device_that_takes_its_time_is_seen_to() -> None:
    class Slow:
        def read(self, offset: int, size: int) -> int:
            time.sleep(0.05)
            return 7

        def write(self, offset: int, size: int, value: int) -> None:
            raise AssertionError

    exits: list[Exit] = []
    with machine(code.READ_AND_EXIT) as made:
        made.add_port_device(code.PORT, 1, Slow())
        tracer = ExitTracer(made, None, exits.extend)
        assert made.run().status == 7
        tracer.finish()
    (read,) = (each for each in exits if each.port == code.PORT)
    assert read.python is not None
    assert 0.05 <= read.python < 1
    assert (read.device, read.register, read.value) == ("Slow", "+0x0", 7)
    assert tracer.summary.by_group()["Slow"].worst >= 50_000_000


def test_a_driver_is_seen_to_set_up_its_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    exits, summary = traced("blk", disks=(str(disk),))
    mmio = [each for each in exits if each.kind == "mmio"]
    assert all(each.device == "virtio-block" for each in mmio)
    names = [each.register for each in mmio]
    assert names[:3] == ["MagicValue", "DeviceID", "Version"]
    assert mmio[0].value == int.from_bytes(b"virt", "little")
    status = [each.value for each in mmio if each.register == "Status" and each.access == "write"]
    assert status == [0, 1, 3, 0xB, 0xF]
    assert {"QueueDescLow", "QueueReady", "ConfigGeneration", "Config+0x0"} <= set(names)
    assert all(each.instruction for each in mmio)  # none is left unknown
    assert {"virtio_find", "virtqueue_open"} <= {
        (each.function or "").split("+")[0] for each in mmio
    }
    assert summary.by_group()["virtio-block"].count == len(mmio)


def test_each_vcpu_is_traced() -> None:
    exits, _ = traced("smp", cpus=2)
    assert {each.vcpu for each in exits} == {0, 1}
    for number in (0, 1):
        times = [each.time for each in exits if each.vcpu == number]
        assert times == sorted(times)


def test_a_triple_fault_is_the_last_exit() -> None:
    exits, _ = traced("crash")
    assert exits[-1].kind in ("shutdown", "internal-error")


def test_an_address_that_no_device_has_is_told_without_a_device() -> None:
    exits, _ = traced(code.READ_AND_EXIT)
    (read,) = (each for each in exits if each.port == code.PORT)
    assert (read.device, read.register, read.value) == (None, None, 0xFF)
    assert read.instruction == "in al, dx"


def test_a_write_that_made_no_exit_has_no_instruction_and_no_time() -> None:
    # mov dx, PORT; out dx, al, three times; in al, dx; and the end
    image = code.MOV_DX_PORT + 3 * code.OUT_DX_AL + code.IN_AL_DX + code.EXIT
    exits: list[Exit] = []
    with machine(image) as made:
        made.vm.coalesce_port(code.PORT)
        tracer = ExitTracer(made, None, exits.extend)
        made.run()
        tracer.finish()
    *gathered, read = (each for each in exits if each.port == code.PORT)
    assert [each.access for each in gathered] == ["write"] * 3
    for each in gathered:
        assert (each.instruction, each.guest, each.kvm) == (None, 0.0, 0.0)
    assert read.instruction == "in al, dx"
    assert read.guest + read.kvm > 0


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Filter(kinds=frozenset({"interrupted"})), {"interrupted"}),
        (Filter(groups=frozenset({"exit-port"})), {"exit-port"}),
        (Filter(addresses=((0x3FD, 0x3FD),)), {"com1 LSR"}),
        (Filter(actors=frozenset({1})), set()),
        (Filter(since=60.0), set()),
        (Filter(until=60.0, groups=frozenset({"com1"})), {"com1 FCR", "com1 LSR", "com1 THR"}),
    ],
)
def test_a_filter_is_for_the_exits_and_for_the_summary(wanted: Filter, expected: set[str]) -> None:
    exits, summary = traced("hello", wanted)
    names = {f"{each.device} {each.register}" if each.device else each.kind for each in exits}
    assert {name.removesuffix(" STATUS") for name in names} == expected
    assert summary.count == len(exits)
    with machine("hello") as made:
        counted = ExitTracer(made, wanted)
        made.run()
        counted.finish()
    assert counted.summary.count == summary.count


def test_no_more_exits_than_asked_for_are_shown_and_all_are_counted() -> None:
    exits, summary = traced("hello", Filter(most=5))
    assert len(exits) == 5
    assert summary.count == 19


def test_the_summary_alone_counts_what_a_trace_counts() -> None:
    with machine("ports", cmdline="count=2000") as made:
        tracer = ExitTracer(made)
        result = made.run()
        tracer.finish()
    counts = {kind: times.count for kind, times in tracer.summary.by_kind().items()}
    assert counts == result.exits
    assert tracer.summary.by_group()["com1"].count >= 2000


def test_an_idle_guest_is_traced_ten_times_a_second() -> None:
    batches: list[list[Exit]] = []
    with machine("echo", serial="pipe") as made:
        tracer = ExitTracer(made, None, lambda exits: batches.append(list(exits)))
        made.start()
        made.serial.read_until(b"\n")
        made.serial.write(b"x\n")
        made.serial.read_until(b"\n")

        def shown() -> list[int | None]:
            return [each.value for batch in batches for each in batch if each.register == "RBR"]

        until(lambda: shown() == [ord("x"), ord("\n")])
        made.stop()
        tracer.finish()


def test_a_flood_is_handed_over_in_batches_of_a_few_hundred() -> None:
    sizes: list[int] = []
    with machine("flood") as made:
        tracer = ExitTracer(made, None, lambda exits: sizes.append(len(exits)))
        made.start()
        until(lambda: len(sizes) > 2)
        made.stop()
        tracer.finish()
    assert len(sizes) > 2
    assert max(sizes) <= 256


def test_after_the_close_the_guest_runs_on_untraced() -> None:
    exits: list[Exit] = []
    with machine("flood") as made:
        tracer = ExitTracer(made, None, exits.extend)
        made.start()
        time.sleep(0.2)
        tracer.close()
        time.sleep(0.2)
        seen, count = len(exits), tracer.summary.count
        before = made.usage().exits["port"]  # type: ignore[index]
        time.sleep(0.2)
        until(lambda: made.usage().exits["port"] > before)  # type: ignore[index]
        assert (len(exits), tracer.summary.count) == (seen, count)
        assert made.stop().reason == "stopped"


def test_a_string_of_reads_and_writes_of_any_width_is_traced() -> None:
    # mov dx, PORT; mov cx, 3; mov di, 0x600; mov si, di; cld; rep insw; mov cx, 3; rep outsw
    image = (
        code.MOV_DX_PORT + b"\xb9\x03\x00\xbf\x00\x06\x89\xfe\xfc\xf3\x6d\xb9\x03\x00\xf3\x6f"
        + b"\xb0\x00" + code.EXIT
    )  # fmt: skip
    exits, _ = traced(image)
    some = [each for each in exits if each.port == code.PORT]
    assert {each.kind for each in some} <= {"port", "port-string"}
    assert sum(each.count or 1 for each in some if each.access == "read") == 3
    assert sum(each.count or 1 for each in some if each.access == "write") == 3
    assert {each.instruction for each in some} == {
        "rep insw word ptr es:[di], dx", "rep outsw dx, word ptr [si]",
    }  # fmt: skip


def test_a_pause_and_a_second_thread_dont_harm_the_trace() -> None:
    exits: list[Exit] = []
    with machine("flood") as made:
        tracer = ExitTracer(made, None, exits.extend)
        made.start()
        for _ in range(3):
            made.pause()
            Thread(target=made.resume).start()
            time.sleep(0.05)
        made.stop()
        tracer.finish()
    assert len(exits) == tracer.summary.count


def test_with_tracing_off_the_core_is_called_directly() -> None:
    with machine("hello") as made:
        for vcpu in made.vm.vcpus:
            assert vcpu.enter.func is lib.ringlet_vcpu_run  # type: ignore[attr-defined]
        code_ = made.vm.vcpus[0].enter(0)
        assert code_ >> KIND_SHIFT == lib.RINGLET_EXIT_PORT


def test_a_machine_that_has_run_or_is_closed_cant_be_traced() -> None:
    with machine("hello") as made:
        made.run()
        with pytest.raises(RingletError, match="has run already"):
            ExitTracer(made)
    with pytest.raises(RingletError, match="is closed"):
        ExitTracer(made)
