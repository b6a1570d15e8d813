"""Each guest does what its line in `ringlet guests` says, under the real KVM."""

import io
import random
import select
from pathlib import Path
from typing import Any

import pytest

from ringlet import Machine, MachineConfig, Result
from ringlet.errors import ImageError
from ringlet.machine.guests import FOLDER, find_image, guests, which_image

from .machine_code import exit_with

pytestmark = [pytest.mark.needs_kvm, pytest.mark.usefixtures("no_leak")]

SOURCES = Path(__file__).parent.parent / "guests"
CTRL_D = b"\x04"


def boot(image: str, **options: Any) -> tuple[Result, str]:
    """How a guest ended, and what it wrote."""
    output = io.BytesIO()
    options = {"serial": output, "timeout": 60, **options}
    with Machine(MachineConfig(image=image, **options)) as machine:
        result = machine.run()
    return result, output.getvalue().decode()


def test_hello16_prints_a_line_from_real_mode_and_ends_with_0() -> None:
    result, output = boot("hello16")
    assert output == "Hello from real mode!\n"
    assert (result.reason, result.status) == ("exit-port", 0)


def test_hello_prints_a_line_and_ends_with_0() -> None:
    result, output = boot("hello")
    assert output == "Hello, ring 0!\n"
    assert (result.reason, result.status) == ("exit-port", 0)


def test_longmode_finds_long_mode_with_paging_and_the_gdt_of_the_contract() -> None:
    result, output = boot("longmode")
    assert result.status == 0
    lines = {line.split()[0]: line for line in output.splitlines()}
    assert lines["CR0"].split()[2:] == ["PE", "ET", "PG"]
    assert "PAE" in lines["CR4"]
    assert lines["EFER"].split()[2:] == ["LME", "LMA"]
    assert lines["CS"] == "CS 0008, SS 0010, DS 0010"


def test_longmode_shows_its_command_line() -> None:
    _, output = boot("longmode", cmdline="one two=3 'four'")
    assert "command line: one two=3 'four'\n" in output


def test_longmode_shows_the_contents_of_its_modules_in_order(tmp_path: Path) -> None:
    contents = [b"the initrd", b"a second module", b"\0binary\xff"]
    paths = [tmp_path / str(number) for number in range(3)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    modules = (f"{paths[1]},with arguments", str(paths[2]))
    _, output = boot("longmode", initrd=paths[0], modules=modules)
    assert "modules: 3\n" in output
    shown = [line.split(", ")[1] for line in output.splitlines() if " bytes: " in line][:3]
    assert shown == ["10 bytes: the initrd", "15 bytes: a second module", "8 bytes: .binary."]


def test_multiboot_shows_what_its_loader_tells(tmp_path: Path) -> None:
    (tmp_path / "a module").write_bytes(b"first\0")
    (tmp_path / "initrd").write_bytes(b"x" * 5000)
    result, output = boot(
        "multiboot",
        cmdline="one two=3",
        initrd=tmp_path / "initrd",
        modules=(f"{tmp_path / 'a module'},with arguments",),
        memory=64 << 20,
    )
    assert (result.reason, result.status) == ("exit-port", 0)
    assert output.splitlines() == [
        "booted by ringlet",
        "command line: multiboot.elf one two=3",
        "modules: 2",
        f"  0000000003ffe000, 5000 bytes, initrd: {'x' * 32}",
        "  0000000003ffd000, 6 bytes, a_module with arguments: first.",
        "memory: 639 KiB, and 64512 KiB from 1 MiB on",
        "memory map:",
        "  0000000000000000, 654336 bytes: RAM",
        "  000000000009fc00, 394240 bytes: reserved",
        "  0000000000100000, 66060288 bytes: RAM",
    ]


@pytest.mark.parametrize("cpus", [1, 2, 3, 8])
def test_smp_starts_all_the_other_cpus(cpus: int) -> None:
    result, output = boot("smp", cpus=cpus)
    assert (result.reason, result.status) == ("exit-port", 0)
    others = [f"CPU {number} is up" for number in range(1, cpus)]
    assert output.splitlines() == ["CPU 0 boots", *others, f"{cpus} in all"]


@pytest.mark.parametrize("mebibytes", [8, 64, 100])
def test_longmode_shows_all_of_its_memory(mebibytes: int) -> None:
    _, output = boot("longmode", memory=mebibytes << 20)
    start = 0
    for line in output.split("memory map: ")[1].splitlines()[1:]:
        address, size = line.split(", ")
        assert int(address, 16) == start
        start += int(size.split()[0])
    assert start == mebibytes << 20


def test_echo_sends_back_thousands_of_arbitrary_bytes_unchanged() -> None:
    sent = bytes(value for value in range(256) if value != CTRL_D[0]) * 16
    sent = bytes(random.Random(16550).sample(sent, len(sent)))
    with Machine(MachineConfig(image="echo", timeout=60)) as machine:
        machine.start()
        machine.serial.read_until(b"ends.\n")
        machine.serial.write(sent)
        received = b""
        while len(received) < len(sent):
            received += machine.serial.read()
        assert received == sent
        machine.serial.write(CTRL_D)
        result = machine.wait()
    assert result is not None
    assert (result.reason, result.status) == ("exit-port", 0)


def test_echo_takes_what_was_sent_before_it_began() -> None:
    with Machine(MachineConfig(image="echo", timeout=60)) as machine:
        machine.serial.write(b"a" * 100 + CTRL_D)
        machine.run()
        assert machine.serial.read_until(b"a" * 100).endswith(b"ends.\n" + b"a" * 100)


def test_timer_counts_five_interrupts() -> None:
    result, output = boot("timer")
    assert output == "".join(f"tick {number}\n" for number in range(1, 6))
    assert result.status == 0


def test_rings_enters_ring_3_and_comes_back_by_system_calls_and_faults() -> None:
    result, output = boot("rings")
    lines = output.splitlines()
    assert lines[0] == "ring 0 -> ring 3"
    assert lines[1].startswith("ring 3 -> ring 0: print: may I print?")
    assert lines[2].startswith("ring 3 -> ring 0: page fault at 0x")
    assert lines[3] == "ring 3 -> ring 0: general protection fault, error 0x0"
    assert lines[4] == "ring 3 -> ring 0: print: alive after both"
    assert lines[5:] == ["ring 3 -> ring 0: exit"]
    assert (result.reason, result.status) == ("exit-port", 0)


def test_crash_is_a_triple_fault_reported_with_registers_and_the_instruction() -> None:
    result, output = boot("crash")
    assert output == "An exception with an empty IDT is a triple fault.\n"
    assert (result.reason, result.status) == ("triple-fault", 70)
    assert result.crash is not None
    assert result.crash.instruction == "ud2"
    assert result.crash.code.startswith(b"\x0f\x0b")
    assert 0x100000 <= result.crash.registers.rip < 0x200000
    assert result.crash.special.idt.limit == 0
    shown = "\n".join(result.crash.lines())
    assert f"rip {result.crash.registers.rip:016x}" in shown
    assert "0f 0b" in shown
    assert "ud2" in shown


def test_spin_runs_until_the_timeout() -> None:
    result, output = boot("spin", timeout=0.5)
    assert output == "Spinning for ever, interrupts off.\n"
    assert (result.reason, result.status) == ("timeout", 124)


def test_halt_is_the_end_with_status_0() -> None:
    result, output = boot("halt")
    assert output == "Halting with interrupts off.\n"
    assert (result.reason, result.status) == ("halt", 0)


def test_ports_makes_as_many_exits_as_it_is_told() -> None:
    few, many = (boot("ports", cmdline=f"x count={count}")[0] for count in (10, 1010))
    assert many.exits["port"] - few.exits["port"] == 1000
    assert many.status == 0


def test_flood_writes_the_printable_characters_again_and_again() -> None:
    line = bytes(range(ord(" "), ord("~") + 1)) + b"\n"
    with Machine(MachineConfig(image="flood", timeout=60)) as machine:
        machine.start()
        received = b""
        while len(received) < 20 * len(line):
            received += machine.serial.read()
        machine.kill()
    assert received == (line * (len(received) // len(line) + 1))[: len(received)]


def work(words: str, **options: Any) -> tuple[Result, str]:
    """How the guest `work` ended, and its lines but the first."""
    result, output = boot("work", cmdline=words, **options)
    first, rest = output.split("\n", 1)
    name, began, now = first.split()
    assert name == "started"
    assert int(began.removeprefix("first=")) <= int(now.removeprefix("now="))
    return result, rest


@pytest.mark.parametrize("words", ["start", "syscall 10", "exit 10", "loop 1000", "sort 99"])
def test_work_ends_with_0_when_it_has_done_it(words: str) -> None:
    result, output = work(words)
    assert (result.reason, result.status) == ("exit-port", 0)
    assert output == "" or output.startswith("cycles=")


@pytest.mark.parametrize("words", ["", "nonsense", "loop", "fork"])
def test_work_refuses_what_it_does_not_know(words: str) -> None:
    result, output = work(words)
    assert (result.reason, result.status) == ("exit-port", 2)
    assert output.startswith("unknown action")


def test_work_leaves_the_guest_once_for_each_port_that_it_reads() -> None:
    few, many = (work(f"exit {count}")[0].exits["port"] for count in (100, 1100))
    # The digits of what it prints are exits too.
    assert abs(many - few - 1000) < 40


def test_work_crashes_its_kernel() -> None:
    result, output = work("crash")
    assert output == "crashing\n"
    assert (result.reason, result.status) == ("triple-fault", 70)


def test_work_waits_without_an_exit_until_it_is_killed() -> None:
    result, output = work("wait", timeout=0.5)
    assert output == ""
    assert (result.reason, result.status) == ("timeout", 124)


def test_work_takes_as_much_memory_as_the_machine_has() -> None:
    config = MachineConfig(image="work", cmdline="touch 16", memory=32 << 20, serial="pipe")
    with Machine(config) as machine:
        machine.start()
        assert machine.serial.read_until(b"touched\n").endswith(b"\nmapped\ntouched\n")
    result, output = work("touch 32", memory=32 << 20)
    assert (result.status, output) == (1, "error=12\n")
    assert work("start", memory=6 << 20)[0].status == 0
    assert boot("work", memory=5 << 20)[1] == "6 MiB of memory is the least\n"


@pytest.mark.parametrize(("action", "changed"), [("read", 0), ("write", 8), ("flush", 8)])
def test_work_reads_and_writes_its_disk(action: str, changed: int, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"\xff" * 8 * 512)
    result, output = work(f"{action} /dev/vda 512 100", disks=(str(disk),))
    assert result.status == 0
    assert output.endswith(" bytes=51200\n")
    assert disk.read_bytes().count(b"\0" * 512) == changed


def test_work_is_in_ring_3_and_sees_no_more_than_its_memory_and_its_processor() -> None:
    output = work("see", memory=48 << 20)[1]
    seen = dict(line.split("=") for line in output.splitlines())
    assert {name: value for name, value in seen.items() if value != "none"} == {
        "ring": "3",
        "kernel": "work",
        "pid": "1",
        "processes": "-1",
        "memory": str(48 << 10),
        "cpus": "1",
    }


def test_work_does_one_action_after_another() -> None:
    result, output = work("loop 10 exit 10 vm sort 10 syscall 10")
    assert result.status == 0
    assert [line.split("=")[0] for line in output.splitlines()] == ["cycles"] * 4


def test_work_opens_its_disk_again_and_again(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"x" * 4096)
    result, output = work("read /dev/vda 512 9 write /dev/vda 512 9 direct", disks=(str(disk),))
    assert (result.status, output.count(" bytes=4608\n")) == (0, 2)


def test_work_does_without_what_its_kernel_lacks() -> None:
    assert work("fork 10")[1] == "forks=0 error=38\n"
    assert work("hz")[1] == "error=38\n"
    assert work("read /dev/vda 512 1")[1] == "error=2\n"


def test_work_waits_for_a_byte_halted() -> None:
    with Machine(MachineConfig(image="work", cmdline="calls", timeout=60)) as machine:
        machine.start()
        machine.serial.read_until(b"now=")
        machine.serial.write(b"x")
        result = machine.wait()
        assert machine.serial.read().endswith(b"\n" + b"x=1\n" * 10)
    assert result is not None
    assert result.exits["port"] < 200


def test_probe_ends_with_0_or_on_the_instruction_that_software_kvm_lacks() -> None:
    result, output = boot("probe")
    assert output == ""
    if result.reason == "exit-port":
        assert result.status == 0
    else:
        assert (result.reason, result.status) == ("internal-error", 70)
        assert result.crash is not None
        assert result.crash.instruction.startswith(("popcnt", "cmpxchg16b"))


def test_the_index_names_every_image_and_every_source_with_its_first_line() -> None:
    listed = {guest.name: guest for guest in guests()}
    images = [path for path in Path(FOLDER).iterdir() if path.suffix in (".bin", ".elf")]
    assert set(listed) == {path.stem for path in images}
    assert all(Path(guest.path).is_file() for guest in listed.values())
    sources = [path for path in SOURCES.glob("*/*.[cS]") if path.stem == path.parent.name]
    assert set(listed) == {path.stem for path in sources}
    for path in sources:
        first = path.read_text().splitlines()[0]
        assert first == f"// {listed[path.stem].summary}"


def test_a_file_of_the_same_name_wins_over_a_guest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    packaged = find_image("hello")
    assert Path(packaged).parent == Path(FOLDER)
    Path("hello").write_bytes(exit_with(7).ljust(510, b"\0") + b"\x55\xaa")
    assert find_image("hello") == "hello"
    assert "the file hello of this folder" in str(which_image("hello"))
    assert boot("hello")[0].status == 7
    assert boot(packaged)[0].status == 0


def test_a_folder_of_the_same_name_is_no_image_and_the_guest_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = find_image("hello")
    monkeypatch.chdir(tmp_path)
    Path("hello").mkdir()
    assert find_image("hello") == packaged
    assert which_image("hello") is None


def test_a_guests_name_that_is_mistyped_is_answered_with_the_near_one() -> None:
    with pytest.raises(ImageError, match="no image helo") as error:
        find_image("helo")
    assert "`hello`" in error.value.hint
    assert find_image("quite-another") == "quite-another"


def test_serial_is_readable_by_poll_when_the_guest_has_written() -> None:
    with Machine(MachineConfig(image="hello", timeout=60)) as machine:
        poll = select.poll()
        poll.register(machine.serial, select.POLLIN)
        assert poll.poll(0) == []
        machine.run()
        assert poll.poll(0)
        assert machine.serial.read() == b"Hello, ring 0!\n"
        assert machine.serial.read() == b""
