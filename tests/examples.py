"""How many examples a property test tries: a tenth in `make test`, all in `make test-slow`."""

import os

_ALL = os.environ.get("EXAMPLES") == "all"
_FEWEST = 10


def examples(count: int) -> int:
    """Of `count`, as many as there is time for."""
    return count if _ALL else max(_FEWEST, count // 10)
