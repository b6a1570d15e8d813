"""What a nested test does where something is missing: it skips; in CI it fails."""

import os

import pytest


def lacks(what: str) -> None:
    """Ends the test: it needs `what`."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"needs {what}", pytrace=False)
    pytest.skip(f"needs {what}")
