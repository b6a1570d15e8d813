"""Source lines: of the guests, and of debug information that lies."""

import os
import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringlet.boot.image import open_image
from ringlet.boot.symbols import image_symbols
from ringlet.machine.guests import FOLDER
from ringlet.observe.console import dwarf_reader
from ringlet.observe.console.lines import Line, Lines, Sources, read_lines

from ...examples import examples

CHECKOUT = Path(__file__).parents[3]


def debug_file(name: str) -> Path:
    return Path(FOLDER) / f"{name}.debug"


def lines_of(source: Path | bytes) -> Lines:
    return read_lines([open_image(source)])


@pytest.fixture(scope="module")
def rings() -> Lines:
    return lines_of(debug_file("rings"))


def address_of(name: str) -> int:
    with open_image(debug_file("rings")) as image:
        address = image_symbols(image).address_of(name)
    assert address is not None
    return address


def test_an_address_in_a_function_is_at_a_line_of_the_function(rings: Lines) -> None:
    start = address_of("ring_3_allow")
    for address in range(start, start + 20):
        line = rings.at(address)
        assert line is not None
        assert line.path == "guests/lib/ring3.c"
        assert str(line) == f"guests/lib/ring3.c:{line.number}"
        text = (CHECKOUT / line.path).read_text().split("\n")
        function = text.index("void ring_3_allow(uintptr_t address, uint64_t size) {")
        assert function < line.number <= function + 1 + text[function:].index("}")


def test_assembly_has_lines_too(rings: Lines) -> None:
    line = rings.at(address_of("user"))
    assert line is not None
    assert line.path == "guests/rings/user.S"
    hello16 = lines_of(debug_file("hello16"))
    assert hello16.at(0x7C00) == Line("guests/hello16/hello16.S", 13)
    assert hello16.at(0x7C01) == Line("guests/hello16/hello16.S", 13)


@pytest.mark.parametrize("address", [0, 1, 0x7BFF, 0x7E00, 0x100000, (1 << 64) - 1])
def test_an_address_without_code_has_no_line(address: int) -> None:
    assert lines_of(debug_file("hello16")).at(address) is None


def test_a_line_has_addresses_and_a_line_without_code_is_the_next_one() -> None:
    hello16 = lines_of(debug_file("hello16"))
    (path,) = hello16.find_file("hello16.S")
    assert hello16.addresses_of(path, 13) == (13, [0x7C00])
    assert hello16.addresses_of(path, 17) == (19, [0x7C08])  # 17 is empty, 18 a label
    assert hello16.addresses_of(path, 999) == (999, [])
    assert hello16.find_file("16.S") == []
    assert hello16.find_file("hello16/hello16.S") == [path]


def test_a_line_begins_where_one_of_the_rows_of_an_address_begins_a_statement() -> None:
    rows = [[0x10, 0, 20, 1], [0x10, 0, 20, 0], [0x14, 0, 20, 1], [0x18, 0, 22, 1], [0x20, 0, 0, 0]]
    for order in (rows, [rows[1], rows[0], *rows[2:]]):
        found = Lines({"files": ["a.c"], "lines": [order], "frames": [], "note": ""})
        assert found.addresses_of("a.c", 20) == (20, [0x10])
        assert found.addresses_of("a.c", 21) == (22, [0x18])


def test_a_function_says_how_its_frame_lies(rings: Lines) -> None:
    rule = rings.frame_rule(address_of("print"))
    assert rule is not None
    assert (rule.register, rule.offset) == (7, 8)  # RSP; a call has pushed the return address
    assert rule.saved[dwarf_reader.RA] == -8
    assert rings.frame_rule(0) is None


def test_an_image_without_debug_information_says_so() -> None:
    found = lines_of(Path(FOLDER) / "hello.elf")
    assert found.note == "the file has no debug information"
    assert found.files == []
    assert found.at(0x100000) is None


def test_what_is_no_elf_has_no_lines() -> None:
    found = lines_of(b"nonsense" * 100)
    assert found.files == []
    assert found.note == "the file is no ELF, so it has no debug information"
    found = lines_of(b"\x7fELF" + b"nonsense" * 100)
    assert found.note.startswith("it can't be read: ELF")


def test_a_program_with_frames_alone_says_that_it_names_no_source_file() -> None:
    found = lines_of(Path("/bin/sh").read_bytes())  # without debug information, with .eh_frame
    assert found.files == []
    assert found.note


def test_a_file_that_is_too_large_has_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"\x7fELF")
    os.truncate(path, dwarf_reader.MAX_SIZE + 1)
    assert lines_of(path).note == "the file has more than 64 MiB"


ORIGINAL = debug_file("rings").read_bytes()


@pytest.mark.slow
@settings(max_examples=examples(300))
@given(seed=st.integers(0, 1 << 32), count=st.integers(1, 64))
def test_any_change_of_the_debug_information_ends_in_lines_or_in_none(
    seed: int, count: int
) -> None:
    chance = random.Random(seed)
    data = bytearray(ORIGINAL)
    for _ in range(count):
        data[chance.randrange(len(data))] = chance.choice(
            (0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256))
        )
    found = lines_of(bytes(data))
    assert found.files or found.note
    assert all(path.isprintable() for path in found.files)
    for address in (0x100000, address_of("print"), address_of("user"), chance.randrange(1 << 64)):
        found.frame_rule(address)
        line = found.at(address)
        if line is not None:
            assert str(line).isprintable()
            found.addresses_of(line.path, line.number)


@pytest.mark.slow
@pytest.mark.needs_gcc
def test_tables_that_never_end_are_held_back(tmp_path: Path) -> None:
    """A line table of version 5 that says: 2**63 folders, each of no bytes."""
    source = tmp_path / "bomb.S"
    source.write_text(
        ".section .debug_abbrev; .byte 1, 0x11, 0, 0x10, 0x17, 0, 0, 0\n"
        ".section .debug_info; .long 2f-1f\n1: .short 4; .long 0; .byte 8, 1; .long 0\n2:\n"
        ".section .debug_line; .long 2f-1f\n1: .short 5; .byte 8, 0; .long 4f-3f\n"
        "3: .byte 1, 1, 1, 0, 1, 1\n"
        ".byte 0; .uleb128 0x7fffffffffffffff\n"
        ".byte 0; .byte 0\n4: 2:\n"
    )
    image = tmp_path / "bomb"
    subprocess.run(["gcc", "-c", source, "-o", image], check=True)
    found = lines_of(image)
    assert found.files == []
    assert found.note


def sources(tmp_path: Path) -> Sources:
    folder = tmp_path / "sources"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib/a.c").write_text("one\n\ttwo\n\x1b[31mthree")
    (tmp_path / "outside.c").write_text("secret")
    (folder / "out.c").symlink_to(tmp_path / "outside.c")
    (folder / "null.c").symlink_to("/dev/zero")
    os.mkfifo(folder / "fifo.c")
    return Sources(str(folder))


@pytest.mark.parametrize(
    "path", ["lib/a.c", "/build/linux/lib/a.c", "x/../../lib/a.c", "./lib//a.c"]
)
def test_a_source_file_is_found_below_the_folder(tmp_path: Path, path: str) -> None:
    assert sources(tmp_path).lines(path) == ["one", "        two", "\\x1b[31mthree"]


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "..", "lib", "none.c", "out.c", "null.c", "fifo.c", "../outside.c", "a\0b"),
        *("/etc/passwd", "/dev/zero", "/proc/self/mem", "x" * 5000, "y/" * 3000),
    ],
)
def test_nothing_else_is_read(tmp_path: Path, path: str) -> None:
    assert sources(tmp_path).lines(path) is None
