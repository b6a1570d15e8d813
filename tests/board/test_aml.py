import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.board import aml

from .aml_reader import Reader, eisa_id, read, resources


@pytest.mark.parametrize(
    ("term", "encoded"),
    [
        (aml.integer(0), "00"),
        (aml.integer(1), "01"),
        (aml.integer(2), "0a 02"),
        (aml.integer(0x1234), "0b 34 12"),
        (aml.integer(0x12345), "0c 45 23 01 00"),
        (aml.integer(1 << 32), "0e 00 00 00 00 01 00 00 00"),
        (aml.string("ACPI"), "0d 41 43 50 49 00"),
        (aml.hardware_id("PNP0501"), "0c 41 d0 05 01"),
        (aml.hardware_id("LNRO0005"), "0d 4c 4e 52 4f 30 30 30 35 00"),
        (aml.named("_UID", aml.integer(0)), "08 5f 55 49 44 00"),
        (aml.package(aml.integer(5), aml.integer(0)), "12 05 02 0a 05 00"),
        (aml.scope("\\_SB"), "10 06 5c 5f 53 42 5f"),
        (aml.device("RTC0"), "5b 82 05 52 54 43 30"),
        (aml.buffer(b"\xaa"), "11 03 01 aa"),
        (aml.io(0x3F8, 8), "47 01 f8 03 f8 03 01 08"),
        (aml.irq(4), "22 10 00"),
        (aml.memory32(0xD0000000, 0x200), "86 09 00 01 00 00 00 d0 00 02 00 00"),
        (aml.interrupt(16), "89 06 00 03 01 10 00 00 00"),
        (aml.resources(), "11 05 0a 02 79 00"),
    ],
)
def test_a_term_is_encoded_as_the_specification_says(term: bytes, encoded: str) -> None:
    assert term == bytes.fromhex(encoded)


@given(st.integers(0, (1 << 64) - 1))
def test_an_integer_reads_back(value: int) -> None:
    assert Reader(aml.integer(value)).value() == value


@given(st.integers(2, 5000) | st.sampled_from([58, 59, 60, 61, 4089, 4090, 4091, 1 << 20]))
def test_a_length_counts_itself_at_every_size(size: int) -> None:
    data = bytes(size)
    reader = Reader(aml.buffer(data))
    assert reader.value() == data
    assert reader.at == len(reader.data)


@given(st.from_regex("[A-Z]{3}[0-9A-F]{4}", fullmatch=True))
def test_an_eisa_id_reads_back(name: str) -> None:
    assert eisa_id(Reader(aml.hardware_id(name)).value()) == name


def test_what_is_nested_reads_back() -> None:
    template = aml.resources(aml.io(0x70, 2), aml.irq(8), aml.interrupt(20))
    inner = aml.device("RTC0", aml.named("_CRS", template))
    terms = read(aml.named("\\_S5", aml.package(aml.integer(5))) + aml.scope("\\_SB", inner))
    assert terms.keys() == {"\\_S5_", "\\_SB_"}
    assert terms["\\_S5_"] == [5]
    tags = [tag for tag, _ in resources(terms["\\_SB_"]["RTC0"]["_CRS"])]
    assert tags == [0x40, 0x20, 0x89]
