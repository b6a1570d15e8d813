"""What the tests of virtio share."""

from pathlib import Path

import pytest

from .disk_driver import CONTENT


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    path.write_bytes(CONTENT)
    return path
