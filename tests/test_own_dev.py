"""What the tests do to /dev isn't done to the host's."""

from pathlib import Path

import pytest


@pytest.mark.needs_mount_namespace
def test_what_is_made_in_dev_is_not_made_on_the_host() -> None:
    kinds = {
        fields[4]: fields[fields.index("-") + 1]
        for fields in map(str.split, Path("/proc/self/mountinfo").read_text().splitlines())
    }
    assert kinds["/dev"] == "overlay"
    with open("/dev/null", "w") as null:
        null.write("still a device")
