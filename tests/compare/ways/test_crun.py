"""crun, where it can't run: it says why itself."""

import shutil

import pytest

from ringlet.compare.instances import Unavailable
from ringlet.compare.lab import Lab
from ringlet.compare.ways import load


@pytest.mark.skipif(shutil.which("crun") is None, reason="needs crun")
def test_where_it_fails_the_reason_is_in_its_own_words(lab: Lab) -> None:
    try:
        load("crun", lab)
    except Unavailable as error:
        words, hint = error.message, error.hint
    else:
        pytest.skip("needs a host on which crun fails")
    assert words != "its output has ended"
    assert hint.startswith("try it: crun --root ")
