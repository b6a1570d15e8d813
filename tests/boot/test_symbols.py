"""Symbols by address and name, from ELF files, debug files and texts; hostile ones do no harm."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.boot import open_image
from ringlet.boot.symbols import MAX_NAME, TEXT_REACH, Symbol, Symbols, image_symbols, read_symbols
from ringlet.errors import ImageError
from ringlet.machine.guests import FOLDER, guests

GUESTS = Path(FOLDER)


def of(data: bytes) -> Symbols:
    with open_image(data) as image:
        return read_symbols(image)


def test_an_address_has_the_symbol_that_reaches_over_it() -> None:
    symbols = Symbols([Symbol(0x100, 0x10, "first"), Symbol(0x110, 0, "label")])
    assert symbols.describe(0xFF) == ""
    assert symbols.describe(0x100) == "first"
    assert symbols.describe(0x10F) == "first+0xf"
    assert symbols.describe(0x112) == "label+0x2"
    assert symbols.describe(0x110 + TEXT_REACH) == ""
    assert symbols.address_of("label") == 0x110
    assert symbols.address_of("none") is None


def test_at_one_address_the_symbol_with_a_size_counts() -> None:
    symbols = Symbols([Symbol(0x100, 0x10, "function"), Symbol(0x100, 0, "a_label")])
    assert symbols.describe(0x104) == "function+0x4"


@pytest.mark.parametrize("guest", [guest.name for guest in guests()])
def test_each_guests_symbols_are_those_that_nm_lists(guest: str) -> None:
    debug = GUESTS / f"{guest}.debug"
    listed = subprocess.run(["nm", str(debug)], capture_output=True, text=True, check=True).stdout
    lines = [line.split() for line in listed.splitlines()]
    expected = {name: int(value, 16) for value, kind, name in lines if kind not in "aA"}
    with open_image(guests_image(guest)) as image:
        symbols = image_symbols(image)
    assert {name: symbols.address_of(name) for name in symbols.names()}.keys() == expected.keys()
    unique = {name for name in expected if listed.count(f" {name}\n") == 1}
    assert {n: symbols.address_of(n) for n in unique} == {n: expected[n] for n in unique}


def guests_image(name: str) -> str:
    return next(guest.path for guest in guests() if guest.name == name)


def test_the_images_themselves_are_stripped() -> None:
    for guest in guests():
        with open_image(guest.path) as image:
            assert len(read_symbols(image)) == 0


def test_a_debug_file_that_isnt_the_images_is_not_used(tmp_path: Path) -> None:
    image = tmp_path / "hello.elf"
    shutil.copy(guests_image("hello"), image)
    shutil.copy(GUESTS / "rings.debug", tmp_path / "hello.debug")
    with open_image(image) as opened:
        assert len(image_symbols(opened)) == 0
    shutil.copy(GUESTS / "hello.debug", tmp_path / "hello.debug")
    with open_image(image) as opened:
        assert image_symbols(opened).address_of("pvh_start") is not None


def test_a_text_has_the_symbols_of_kallsyms() -> None:
    symbols = of(
        b"ffffffff81000000 T _text\nffffffff81000080 t secondary\t[module]\n"
        b"0000000000000000 A zero\nrubbish\nffffffff82000000 D data extra\n"
    )
    assert symbols.names() == ["_text", "data", "secondary"]
    assert symbols.describe(0xFFFFFFFF81000084) == "secondary+0x4"


def test_a_32_bit_elf_has_symbols(tmp_path: Path) -> None:
    source = tmp_path / "a.S"
    source.write_text(
        ".globl start\n.type start, @function\nstart: nop\nnop\n.size start, .-start\n"
    )
    built = tmp_path / "a.elf"
    flags = ["-m32", "-nostdlib", "-static", "-Wl,-Ttext=0x100000", "-Wl,-e,0x100000"]
    subprocess.run(["gcc", *flags, "-o", built, source], check=True, capture_output=True)
    symbols = of(built.read_bytes())
    assert symbols.at(0x100001) == (Symbol(0x100000, 2, "start"), 1)


def test_no_name_has_what_a_terminal_would_obey_or_is_endless() -> None:
    symbols = of(b"1000 T a\x1b[2Jb\n2000 T " + b"x" * 9999 + b"\n3000 T \xff\xfe\n")
    assert len(symbols) == 3
    for name in symbols.names():
        assert name.isprintable()
        assert len(name) <= 4 * MAX_NAME


@given(data=st.data())
def test_a_mutated_debug_file_is_read_or_refused(data: st.DataObject) -> None:
    raw = bytearray((GUESTS / "rings.debug").read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1) | st.integers(0, 63))] = data.draw(
            st.integers(0, 255)
        )
    cut = data.draw(st.integers(1, len(raw)) | st.just(len(raw)))
    try:
        symbols = of(bytes(raw[:cut]))
    except ImageError:
        return
    for name in symbols.names():
        assert name.isprintable()
