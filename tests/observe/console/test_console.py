"""The debugger of the terminal: each command, on real guests."""

import re
import signal
from threading import Timer

import pytest

from ringlet.errors import RingletError
from ringlet.host.interrupt import Interrupted
from ringlet.observe.console.console import COMMANDS, find

from ...machine_code import SPIN, UD2, exit_with, protected
from ..conversation import CHECKOUT, talk

pytestmark = [pytest.mark.needs_kvm, pytest.mark.usefixtures("no_leak")]


# What each guest of the package is good for.
def test_rings_shows_each_change_of_mode_from_its_entry_to_ring_3_and_back() -> None:
    modes = []
    with talk("rings") as say:
        lines = say.new()
        while not lines[-1].startswith("the run is over"):
            modes += [line for line in lines if line.startswith("mode: ")]
            assert len([line for line in lines if line.startswith("=> ")]) == 1
            lines = say("step mode")
    to_3 = "mode: 64-bit mode, ring 0 -> 64-bit mode, ring 3"
    to_0 = "mode: 64-bit mode, ring 3 -> 64-bit mode, ring 0"
    assert modes == [
        "mode: 32-bit protected mode without paging, ring 0",
        "mode: 32-bit protected mode without paging, ring 0 -> 32-bit compatibility mode, ring 0",
        "mode: 32-bit compatibility mode, ring 0 -> 64-bit mode, ring 0",
        *(to_3, to_0) * 5,
    ]


def test_in_ring_3_and_back_the_place_is_the_right_one() -> None:
    with talk("rings") as say:
        for _ in range(3):
            lines = say("step mode")
        assert "user, guests/rings/user.S:15" in lines
        assert any(line.startswith("=> 0x400000  push ") for line in lines)
        (changed,) = [line for line in lines if line.startswith("changed: ")]
        assert "cs 0x8 -> 0x23" in changed
        assert "ss 0x10 -> 0x1b" in changed
        lines = say("step mode")
        assert any(line.startswith("system_call, guests/rings/rings.c:") for line in lines)
        trace = say("backtrace")
        assert re.fullmatch(r"#0  0x[0-9a-f]+ system_call, guests/rings/rings.c:\d+", trace[0])
        assert trace[1].startswith("#1  0x400008 user+0x8, guests/rings/user.S:15  ring 3")
        lines = say("finish")
        assert any(line.startswith("=> 0x400008  add rsp, 0x10") for line in lines)


def test_the_page_of_ring_3_and_the_kernels_are_walked_level_by_level() -> None:
    with talk("rings") as say:
        (line,) = say("page user")
        assert line.startswith("linear 0x400000: paging is off (CR0.PG = 0), the linear address ")
        say("break ring_3_enter")
        say("continue")
        lines = say("page user")
        assert [line.split()[0] for line in lines[1:4]] == ["PML4E", "PDPTE", "PDE"]
        assert "present writable user" in lines[3]
        assert lines[3].endswith("large")
        assert lines[4] == "mapped: physical 0x400000, in a page of 2 MiB"
        assert lines[5].endswith("ring 3 may read, write and execute")
        assert say("page main")[-1] == ("ring 0 may read, write and execute; ring 3 may do nothing")
        assert say("page 0x100000000")[-1] == "not mapped: the PDPTE isn't present (bit 0 is 0)"


def test_rings_tables_are_decoded() -> None:
    with talk("rings") as say:
        say("step mode")
        assert any("it is empty" in line for line in say("idt"))
        for _ in range(2):
            say("step mode")
        gdt = say("gdt")
        assert "  0x0020  code, 64-bit, execute and read, ring 3  <- cs" in gdt
        assert any("64-bit TSS, busy" in line and line.endswith("<- tr") for line in gdt)
        idt = say("idt")
        assert any("#BP, breakpoint" in x and "(system_call)" in x and "ring 3" in x for x in idt)
        assert any("#PF, page fault" in x and "(page_fault)" in x for x in idt)


def test_hello_is_stepped_to_its_exits() -> None:
    with talk("hello") as say:
        first = say.new()
        assert first[0] == "stopped before the first instruction"
        assert first[2].startswith("pvh_start, guests/hello/hello.S:")
        assert say("step 2")[-1].startswith("changed: rdx 0x0 -> 0x3fa")
        assert say("exit")[0] == "VM exit: the guest writes 0x01 to port 0x3fa, com1 FCR"
        assert say("exit")[0] == "VM exit: the guest reads 0x60 from port 0x3fd, com1 LSR"
        lines = say("exit")
        assert lines[0].startswith("VM exit: the guest writes ")
        assert "to port 0x3f8, com1 THR" in lines[0]
        lines = say("continue")
        assert lines[-2:] == ["guest| Hello, ring 0!", "the run is over: exit-port, status 0"]
        assert "the run is over" in say.fails("step")
        assert "the run is over" in say.fails("registers")


def test_real_mode_is_stepped_and_has_its_interrupt_table() -> None:
    with talk("hello16") as say:
        assert say.new()[1] == "mode: 16-bit real mode"
        assert any("start+0x2, guests/hello16/hello16.S:14" in line for line in say("s"))
        assert "real mode doesn't use the GDT" in say("gdt")[0]
        assert say("idt")[0] == "interrupt table of real mode at 0x0, 256 entries"
        assert say("break done")[0].startswith("breakpoint 1 at 0x7c1f done")
        lines = say("continue")
        assert "breakpoint 1" in lines
        assert "guest| Hello from real mode!" in lines
        assert any(line.startswith("=> 0x7c1f  out 0xf4, al") for line in lines)


def test_a_32_bit_multiboot_kernel_is_stepped_over_a_call_and_out_of_it() -> None:
    with talk("multiboot") as say:
        assert "mode: 32-bit protected mode without paging, ring 0" in say.new()
        say("break main")
        lines = say("continue")
        assert "mode: 32-bit protected mode without paging, ring 0 -> 64-bit mode, ring 0" in lines
        say("break print")
        say("c")
        trace = say("bt")
        assert " print" in trace[0]
        assert " main+" in trace[1]
        assert trace[1].endswith("(frame rule)")
        assert any(line.startswith("main+") for line in say("finish"))


def test_both_vcpus_of_smp_are_looked_at() -> None:
    with talk("smp", cpus=2) as say:
        assert "vCPU 0: 32-bit protected mode without paging, ring 0" in say.new()
        lines = say("vcpus")
        assert lines[0].startswith("=> vCPU 0: running, interrupts off, 32-bit protected mode")
        assert lines[1].startswith("   vCPU 1: not started")
        say("vcpus 1")
        assert "the guest has not started vCPU 1" in say.fails("step")
        say("vcpus 0")
        say("break processor_main")
        lines = say("continue")
        assert "guest| CPU 0 boots" in lines
        assert "vCPU 1: 64-bit mode, ring 0" in lines
        assert say("vcpus")[1].startswith("=> vCPU 1: running")
        assert "processor_main" in say("backtrace")[0]
        lines = say("vcpus 0")
        assert any("start_processor" in line or "main+" in line for line in lines)
        say("delete 1")
        lines = say("continue")
        assert "guest| CPU 1 is up" in lines
        assert lines[-1] == "the run is over: exit-port, status 0"


def test_a_vcpu_that_is_halted_for_good_isnt_stepped() -> None:
    with talk("smp", cpus=2) as say:
        say("break main")
        say("continue")
        assert "guest| 2 in all" in say("finish")
        assert say("vcpus")[1].startswith("   vCPU 1: halted, interrupts off")
        say("vcpus 1")
        assert "vCPU 1 is halted with interrupts off" in say.fails("step")
        assert say("continue")[-1] == "the run is over: exit-port, status 0"


def test_a_crash_can_be_looked_at() -> None:
    with talk("crash") as say:
        lines = say("continue")
        at = lines.index("the guest crashed: triple fault")
        told = [line.strip() for line in lines[at + 1 : at + 4]]
        machine = say.console.session.machine
        assert any(line.startswith("=> ") and "ud2" in line for line in lines)
        assert any("main" in line for line in say("bt"))
        say("registers")
        say("continue")
        result = machine.wait()
    assert result is not None
    assert result.crash is not None
    assert result.crash.fault is not None
    assert told[: len(result.crash.fault.lines())] == result.crash.fault.lines(), "as `boot` says"


@pytest.mark.parametrize("image", ["hello", "hello16", "longmode", "multiboot", "rings", "smp"])
def test_each_view_says_something_of_each_guest(image: str) -> None:
    views = [
        *("registers", "flags", "gdt", "idt", "stack", "backtrace", "devices", "devices com1"),
        *("vcpus", "list", "disassemble", "page $rip", "memory $rip 20", "break", "help"),
    ]
    with talk(image) as say:
        for steps in ("step", "step 20"):
            for view in views:
                lines = say(view)
                assert lines
                assert all(line.isprintable() for line in lines)
            say(steps)


# The words of commands.
def test_each_command_has_help_and_refuses_words_that_it_doesnt_take() -> None:
    with talk("hello") as say:
        listed = "\n".join(say("help"))
        for name in COMMANDS:
            assert name in listed
            assert say(f"help {name}")[0].startswith(name)
            assert f"{name} doesn't take these words: it is: {name}" in say.fails(f"{name} 1 2 3 4")


def test_a_command_may_be_cut_short_and_an_empty_line_repeats_it() -> None:
    assert find("s") is find("step") is find("ste")
    assert find("c") is find("continue")
    for word in ("xyzzy", "de", "st e", ""):
        with pytest.raises(RingletError):
            find(word)
    with talk("hello") as say:
        say("step  # a comment")
        assert any("pvh_start+0x6" in line for line in say(""))
        assert say("# a comment alone") == []
        assert "did you mean `step`?" in say.fails("stepp")
        assert "delete or devices or disassemble" not in say.fails("d x").split(":")[0]
        assert "may be delete or devices" in say.fails("de")


@pytest.mark.parametrize(
    ("place", "address"),
    [
        ("0x100109", 0x100109),
        ("1048832", 0x100100),
        ("pvh_start", 0x100100),
        ("pvh_start+9", 0x100109),
        ("pvh_start+0x10", 0x100110),
        ("hello.S:17", 0x100109),
        ("$rip", 0x100100),
        ("$rip+1", 0x100101),
        ("$pc", 0x100100),
        ("hello.S:13", 0x100101),
        ("hello/hello.S:13", 0x100101),
        ("guests/hello/hello.S:14", 0x100106),
    ],
)
def test_a_place_is_an_address_a_symbol_a_register_or_a_line(place: str, address: int) -> None:
    with talk("hello") as say:
        assert say(f"break {place}")[0].startswith(f"breakpoint 1 at {address:#x} ")


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("nowhere", "there is no symbol nowhere"),
        ("pvh_stat", "did you mean `pvh_start`?"),
        ("rip", "the register is $rip"),
        ("0xffffffffffffffffff", "0xffffffffffffffffff is no address: it has more than 64 bits"),
        ("$rip+0x10000000000000000", "has more than 64 bits"),
        ("$xyz", "there is no register $xyz"),
        ("hello.S:9999", "hello.S:9999 has no code"),
        ("other.c:1", "there is no source file other.c"),
        ("0x", "there is no symbol 0x"),
        ("0x100000000000", "no RAM"),
        ("x" * 5000, "there is no symbol"),
        ("\x1b[31m", "there is no symbol \\x1b[31m"),
    ],
)
def test_a_place_that_isnt_there_is_said_so(place: str, why: str) -> None:
    with talk("hello") as say:
        assert why in say.fails(f"break {place}")


def test_breakpoints_are_numbered_listed_and_deleted() -> None:
    with talk("hello") as say:
        assert say("break") == ["there is no breakpoint"]
        say("break hello.S:17")
        say("break hello.S:19")
        assert [line.split(" at ")[0] for line in say("break")] == ["breakpoint 1", "breakpoint 2"]
        assert "breakpoint 1" in say("continue")
        say("delete 1")
        assert "there is no breakpoint 1" in say.fails("delete 1")
        say("delete")
        assert say("break") == ["there is no breakpoint"]
        assert say("continue")[-1] == "the run is over: exit-port, status 0"


def test_a_breakpoint_says_which_line_it_has_taken() -> None:
    source = (CHECKOUT / "guests/rings/rings.c").read_text().splitlines()
    line = next(at for at, text in enumerate(source, 1) if "void system_call(" in text)
    with talk("rings") as say:
        (told,) = say(f"break rings.c:{line}")
        assert told.startswith("breakpoint 1 at ")
        assert told.endswith(f" system_call, guests/rings/rings.c:{line}")
        said, told = say(f"break rings.c:{line - 1}")
        assert said == f"line {line - 1} has no code; the next line that has code is {line}"
        assert told.endswith(f" system_call, guests/rings/rings.c:{line}")


def test_finish_says_why_the_caller_is_not_known() -> None:
    with talk("hello") as say:
        assert say.fails("finish").startswith("no function has called this one")
    # mov esp, 0x100100; nop; the stack has an address behind a call
    code = b"\xbc\0\x01\x10\0\x90\x90" + b"\xe8\0\0\0\0" + exit_with(0)
    stack = b"\0" * 4 + (0x10000C).to_bytes(4, "little")
    with talk(protected(code.ljust(0x100, b"\0") + stack.ljust(0x80, b"\0"))) as say:
        say("step 2")
        told = say.fails("finish")
        assert told.startswith("the caller of this function isn't known for sure: ")
        assert "a return address to 0x10000c" in told


def test_a_breakpoint_that_is_there_twice_goes_with_the_second() -> None:
    with talk("hello") as say:
        say("break hello.S:17")
        say("break hello.S:17")
        say("delete 1")
        assert "breakpoint 2" in say("continue")


def test_a_watchpoint_names_the_instruction_that_writes() -> None:
    # mov eax, 7; mov [0x100080], eax; nop; mov [0x100080], eax; mov al, 0; out 0xf4, al
    write = b"\xa3\x80\0\x10\0"
    code = b"\xb8\x07\0\0\0" + write + b"\x90" + write + exit_with(0)
    with talk(protected(code.ljust(0x100, b"\0"))) as say:
        say("watch 0x100080 4")
        lines = say("continue")
        assert "watchpoint 1: 0x100080 00 00 00 00 -> 07 00 00 00" in lines
        assert any("=> 0x10000a  nop" in line for line in lines)
        assert "watchpoint 1: 0x100080 is written, and stays the same" in say("continue")
        assert "0x100080" in say("break")[0]
        say("delete")
        assert say("continue")[-1] == "the run is over: exit-port, status 0"
        assert "the run is over" in say.fails("watch 0x100080")


def test_a_watchpoint_where_no_memory_is_is_refused() -> None:
    with talk("hello") as say:
        assert "no memory is at 0xd0000000" in say.fails("watch 0xd0000000")


# What isn't as a guest should be.
def test_code_that_is_no_code_is_shown_as_bytes() -> None:
    with talk(protected(b"\x0f\xff\x0f\x04" + UD2)) as say:
        lines = say("disassemble $rip 3")
        assert any("no instruction" in line and line.endswith(" 0f") for line in lines)


def test_memory_that_isnt_there_is_said_so() -> None:
    with talk("hello") as say:
        assert "no memory is at 0xd0000000" in say.fails("memory 0xd0000000")
        assert "no memory is at 0xd0000000" in say.fails("disassemble 0xd0000000")
        lines = say("memory 0x3fffff8 16")
        assert lines[0].startswith("0x3fffff8  00 00 00 00 00 00 00 00 ")
        assert lines[1].startswith("no memory is at 0x4000000")
        assert "no source line is known" in say.fails("list 0x50")


def test_an_image_without_symbols_and_lines_is_debugged_by_addresses() -> None:
    with talk(protected(b"\x90\x90" + exit_with(3))) as say:
        assert say.new()[-1].startswith("=> 0x100000  nop")
        assert "there is no debug information" in say.fails("list") or "no debug" in say.fails(
            "list"
        )
        assert say("backtrace")[0] == "#0  0x100000"
        say("break 0x100002")
        say("continue")
        assert say("continue")[-1] == "the run is over: exit-port, status 3"


def test_what_the_guest_writes_reaches_the_terminal_unescaped_by_nothing() -> None:
    # mov dx, 0x3f8; out ESC, LF
    code = b"\x66\xba\xf8\x03\xb0\x1b\xee\xb0\x41\xee\xb0\x0a\xee" + exit_with(0)
    with talk(protected(code)) as say:
        assert "guest| \\x1bA" in say("continue")


def test_an_endless_loop_is_interrupted() -> None:
    with talk(protected(SPIN)) as say:
        timer = Timer(0.3, say.console.interrupt)
        timer.start()
        lines = say("continue")
        timer.join()
        assert lines[0] == "interrupted"
        assert any(line.startswith("=> 0x100000  jmp 0x100000") for line in lines)
        timer = Timer(0.3, say.console.interrupt)
        timer.start()
        say("step 10000000")
        timer.join()


def test_a_signal_that_ends_it_is_kept_until_a_command_that_waits_for_nothing_is_done() -> None:
    with talk(protected(SPIN)) as say:
        say.console.end(signal.SIGTERM)
        with pytest.raises(Interrupted) as ended:
            say.console.answer("registers")
        assert ended.value.number == signal.SIGTERM
        assert any(line.startswith("rip ") for line in say.new())


def test_a_timeout_ends_the_run_and_is_said() -> None:
    with talk(protected(SPIN), timeout=0.5) as say:
        assert say("continue")[-1] == "the run is over: timeout, status 124"
