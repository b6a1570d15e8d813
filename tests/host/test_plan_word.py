"""Words of a plan, which programs in C read."""

import os
from urllib.parse import unquote_to_bytes

from hypothesis import given
from hypothesis import strategies as st

from ringlet.host.plan_word import is_plain, plan_word


@given(st.binary())
def test_a_word_is_printable_has_no_space_and_comes_back(data: bytes) -> None:
    word = plan_word(os.fsdecode(data))
    assert is_plain(word.replace("%", ""))
    assert unquote_to_bytes(word) == data


def test_a_plain_word_stays_as_it_is() -> None:
    assert plan_word("/dev/vda,a=b:~") == "/dev/vda,a=b:~"
    assert not is_plain("a b")
    assert not is_plain("100%")
