"""The frame of an HTML page that has no script and loads nothing.

The page's Content Security Policy enforces both: it allows the page's own style sheet, by the hash
of its text, and nothing else.
Sources: HTML (WHATWG); Content Security Policy Level 3 (W3C), 2.3 and 4.1.
"""

from __future__ import annotations

import base64
import hashlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def static_page(title: str, style: str, body: Iterable[str]) -> str:
    """Returns the page. `title` and the lines of `body` are HTML: the caller has escaped them."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return "\n".join(
        (
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
            f"style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{title}</title>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            *body,
            "</body>",
            "</html>\n",
        )
    )
