from hypothesis import given
from hypothesis import strategies as st

from ringlet.host.escape import COMMANDS, EscapeCommand, EscapeFilter


def test_bytes_without_the_escape_key_pass_unchanged() -> None:
    assert EscapeFilter().feed(bytes(range(2, 256))) == [bytes(range(2, 256))]


def test_commands_stand_in_order_among_the_bytes() -> None:
    assert EscapeFilter().feed(b"a\x01bc\x01hd\x01z\x01p\x01i\x01x") == [
        b"a",
        EscapeCommand.BREAK,
        b"c",
        EscapeCommand.HELP,
        b"d",
        EscapeCommand.SUSPEND,
        EscapeCommand.POWER_BUTTON,
        EscapeCommand.INQUIRE,
        EscapeCommand.QUIT,
    ]


def test_the_escape_key_twice_is_itself() -> None:
    assert EscapeFilter().feed(b"\x01\x01x") == [b"\x01", b"x"]


def test_an_unknown_key_after_it_is_dropped() -> None:
    assert EscapeFilter().feed(b"\x01qr") == [b"r"]


def test_the_command_keys_are_the_documented_ones() -> None:
    assert set(COMMANDS) == {b"x", b"p", b"i", b"b", b"z", b"h"}


@given(st.lists(st.text("\x01xpibhzqa", max_size=4).map(str.encode)))
def test_it_does_not_matter_where_reads_cut_the_input(reads: list[bytes]) -> None:
    def tokens(parts: list[bytes | EscapeCommand]) -> list[int | EscapeCommand]:
        flat: list[int | EscapeCommand] = []
        for part in parts:
            flat.extend([part] if isinstance(part, EscapeCommand) else part)
        return flat

    cut = EscapeFilter()
    assert tokens([part for read in reads for part in cut.feed(read)]) == tokens(
        EscapeFilter().feed(b"".join(reads))
    )
