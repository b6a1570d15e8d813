"""What ways have in common."""

import pytest

from ringlet.compare.instances import Unavailable
from ringlet.compare.lab import Lab
from ringlet.compare.ways import bwrap
from ringlet.compare.ways.base import size, version_number


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("runc version 1.1.5+ds1", "1.1.5+ds1"),
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)", "7.2.22"),
        ("unknown", "unknown"),
    ],
)
def test_a_version_is_the_first_number(line: str, version: str) -> None:
    assert version_number(line) == version


@pytest.mark.parametrize(("count", "text"), [(64 << 20, "64M"), ((1 << 20) + 4096, "1028K")])
def test_a_size_is_as_command_lines_have_it(count: int, text: str) -> None:
    assert size(count) == text


def test_a_program_that_is_not_there_is_named_with_its_package(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unavailable, match="bwrap isn't installed") as raised:
        bwrap.Way(lab)
    assert "apt install bubblewrap" in raised.value.hint
