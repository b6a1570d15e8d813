"""The page in a browser: an empty console, and nothing wider than the window at two widths."""

import re
from pathlib import Path

import pytest
from matplotlib.image import imread

from ringlet.observe.exits.exit_event import EXITS, Exit
from ringlet.observe.trace.formats import make

from ....compare.showing.test_page_browser import Browser
from ...samples import HOSTILE, exit, summary

pytestmark = [pytest.mark.needs_chromium, pytest.mark.slow]

POLICY = re.compile('<meta http-equiv="Content-Security-Policy"[^>]*>')
# Says in the title how wide the window is, and what shows beyond its edge; tables scroll.
PROBE = """<script>
const beyond = [...document.body.querySelectorAll("*")].filter(
  (element) => !element.parentElement.closest(".scroll") && !element.closest("svg")
    && element.getBoundingClientRect().right > innerWidth + 1);
parent.document.title = `${innerWidth} ${document.documentElement.scrollWidth} `
  + beyond.map((element) => `${element.tagName}:${element.textContent.slice(0, 40)}`).join("|");
</script></body>"""


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    return Browser(tmp_path)


def page(**changes: object) -> str:
    """Of two vCPUs and several devices; `changes` are those of each exit."""
    exits: list[Exit] = []
    for at in range(2000):
        some = {"device": ("com1", "virtio-block", "cmos")[at % 7 % 3], "vcpu": at % 2, **changes}
        exits.append(exit(time=0.0001 + at * 20e-6, guest=5e-6, **some))
    format = make("html", EXITS, title=str(changes.get("device", "a guest")), most=10_000)
    format.events(exits)
    return format.end(summary(exits, 0.0402)).decode()


@pytest.mark.parametrize("width", [390, 1280])
def test_the_console_is_empty_and_the_page_is_not(
    browser: Browser, tmp_path: Path, width: int
) -> None:
    picture = tmp_path / "page.png"
    _, console = browser.run(page(), f"--window-size={width},1600", f"--screenshot={picture}")
    assert console == []
    pixels = imread(picture)
    assert pixels.shape[:2] == (1600, width)
    for rows in (pixels[:400], pixels[400:800], pixels[800:1200], pixels[1200:]):
        assert rows[..., :3].std() > 0.05


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("device", [None, "unbreakable" * 20])
def test_nothing_is_wider_than_the_window(browser: Browser, width: int, device: str | None) -> None:
    html = page() if device is None else page(device=device)
    assert browser.title(POLICY.sub("", html).replace("</body>", PROBE), width) == (
        f"{width} {width} "
    )


@pytest.mark.parametrize("text", HOSTILE[:2])
def test_what_a_trace_holds_is_never_run(browser: Browser, text: str) -> None:
    dump, console = browser.run(page(device=text, function=text), "--dump-dom")
    assert "<title>taken" not in dump
    assert console == []
