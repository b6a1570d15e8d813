"""Where this user's programs keep what they can make again.

Source: the XDG Base Directory Specification 0.8.
"""

import os


def cache_folder(name: str) -> str | None:
    """The path of ringlet's folder `name` in there; None for a user without a home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # to be ignored then, the specification says
        base = os.path.expanduser("~/.cache")
    return os.path.join(base, "ringlet", name) if os.path.isabs(base) else None
