"""A page allows its own style sheet and nothing else."""

import base64
import hashlib
import re

from ringlet.host.static_page import static_page


def test_a_page_allows_its_own_style_alone() -> None:
    page = static_page("title", "p { color: red }", ["<p>one</p>", "<p>two</p>"])
    assert "<title>title</title>" in page
    assert "<p>one</p>\n<p>two</p>" in page
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    (style,) = re.findall(r"<style>(.*)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
