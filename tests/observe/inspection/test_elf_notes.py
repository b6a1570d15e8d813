from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.observe.inspection.elf_notes import note_facts


def shown(name: bytes, kind: int, data: bytes) -> tuple[str, str]:
    facts = note_facts((name, kind, data))
    return facts.name, facts.value


@pytest.mark.parametrize(
    ("note", "name", "value"),
    [
        ((b"Xen\0", 18, pack("<I", 0x100850)), "XEN_ELFNOTE_PHYS32_ENTRY", "0x100850"),
        ((b"Xen\0", 18, pack("<Q", 0x100850)), "XEN_ELFNOTE_PHYS32_ENTRY", "0x100850"),
        ((b"Xen\0", 6, b"linux\0"), "XEN_ELFNOTE_GUEST_OS", "linux"),
        ((b"GNU\0", 3, b"\x01\xd2\x64"), "NT_GNU_BUILD_ID", "01d264"),
        ((b"GNU\0", 1, pack("<4I", 0, 3, 2, 0)), "NT_GNU_ABI_TAG", "Linux 3.2.0"),
        (
            (b"GNU\0", 5, pack("<4I", 0xC0000002, 4, 3, 0) + pack("<4I", 0xC0008002, 4, 1, 0)),
            "NT_GNU_PROPERTY_TYPE_0",
            "x86 features: IBT, SHSTK, x86 ISA needed: x86-64-baseline",
        ),
        ((b"Linux\0", 0x100, b"6.1.0-57\0"), "LINUX_ELFNOTE_BUILD_SALT", "6.1.0-57"),
        ((b"Linux\0", 0x101, pack("<I", 0)), "LINUX_ELFNOTE_LTO_INFO", "0x0"),
        ((b"Other\0", 7, b"\x01\x02"), "", "01 02"),
    ],
)
def test_a_known_note_has_its_name_and_says_what_it_means(
    note: tuple[bytes, int, bytes], name: str, value: str
) -> None:
    assert shown(*note) == (name, value)


def test_a_long_note_is_shown_in_part() -> None:
    _, value = shown(b"Other\0", 1, bytes(60000))
    assert value == "00 " * 63 + "00 … (60000 bytes)"


def test_what_is_in_a_note_does_not_reach_a_terminal() -> None:
    facts = note_facts((b"\x1b[2J\0", 1, b""))
    assert facts.owner == "\ufffd[2J"
    assert shown(b"Xen\0", 6, b"\x1b]0;x\x07") == ("XEN_ELFNOTE_GUEST_OS", "\ufffd]0;x\ufffd")


@given(
    st.sampled_from([b"GNU\0", b"Xen\0", b"Linux\0", b"GNU"]) | st.binary(max_size=40),
    st.integers(0, 20) | st.integers(0, (1 << 32) - 1),
    st.binary(max_size=200),
)
def test_any_note_is_shown_on_one_short_line(name: bytes, kind: int, data: bytes) -> None:
    facts = note_facts((name, kind, data))
    assert facts.owner.isprintable()
    assert facts.value.isprintable()
    assert len(facts.value) < 600
