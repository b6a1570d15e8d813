"""Lab 6, rings: a kernel of one page, which runs programs in ring 3, and two of them in turns."""

from __future__ import annotations
