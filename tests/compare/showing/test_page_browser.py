"""The page in a browser: an empty console, nothing wider than a phone, no script that runs."""

import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path

import pytest
from matplotlib.image import imread

from ringlet.compare.report import Cell, Report
from ringlet.compare.showing import page

from ..reports import HOSTILE, WAYS, sample, small

pytestmark = [pytest.mark.needs_chromium, pytest.mark.slow]

WORD = "unbreakable"
POLICY = re.compile('<meta http-equiv="Content-Security-Policy"[^>]*>')
# Says in the title how wide the window is, and what shows beyond its edge.
PROBE = """<script>
for (const details of document.querySelectorAll("details")) details.open = true;
const beyond = [...document.body.querySelectorAll("*")].filter(
  (element) => element.getClientRects().length && element.tagName != "g"
    && (element.getBoundingClientRect().right > innerWidth + 1
      || element.getBoundingClientRect().left < -1));
parent.document.title = `${innerWidth} ${document.documentElement.scrollWidth} `
  + beyond.map((element) => `${element.tagName}:${element.textContent.slice(0, 40)}`).join("|");
</script></body>"""


# Says in the title how long the page is, and how high its smallest text in a chart.
MEASURE = """<script>
const sizes = [...document.querySelectorAll(".chart text")].filter(
  (text) => text.getClientRects().length && !text.closest("details")).map(
  (text) => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a);
parent.document.title = `${document.documentElement.scrollHeight} ${Math.min(...sizes)}`;
</script></body>"""


class Browser:
    """Chromium without a window, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._command = [
            shutil.which("chromium") or "chromium",
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--hide-scrollbars", "--enable-logging=stderr", "--v=0",
            f"--user-data-dir={folder}/chromium",
        ]  # fmt: skip

    def run(self, html: str, *options: str) -> tuple[str, list[str]]:
        """What it prints of the page, and what the page's console says."""
        file = self._folder / "page.html"
        file.write_text(html)
        done = subprocess.run(
            [*self._command, *options, file.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self._folder), "TZ": "UTC"},
        )
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    def title(self, html: str, width: int) -> str:
        """The title that a page in a frame of this width gives to the page around it.

        A window has a least width, which is more than a phone's.
        """
        frame = f'<iframe width="{width}" height="900" srcdoc="{escape(html)}"></iframe>'
        dump, _ = self.run(f"<title></title>{frame}", "--window-size=1400,1000", "--dump-dom")
        return unescape(dump.partition("<title>")[2].partition("</title>")[0])


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    return Browser(tmp_path)


def wordy() -> Report:
    """Texts that have no place to be broken, in a report of numbers that are wide."""
    cells = {
        name: Cell(
            samples=[1.0, 2.0], median=123456.0 * 7**at, spread=999.0, note=WORD * 30,
            command=WORD * 200, phases={WORD: 1, WORD * 2: 2},
        )
        for at, name in enumerate(WAYS)
    }  # fmt: skip
    cells["text"] = Cell(text=WORD * 40)
    cells["error"] = Cell(error=WORD * 40)
    return small(cells, text=WORD * 15)


@pytest.mark.parametrize("width", [390, 1280])
def test_the_console_is_empty_and_the_page_is_not(
    browser: Browser, tmp_path: Path, width: int
) -> None:
    picture = tmp_path / "page.png"
    html = page.render(sample())
    _, console = browser.run(html, f"--window-size={width},4000", f"--screenshot={picture}")
    assert console == []
    pixels = imread(picture)
    assert pixels.shape[:2] == (4000, width)
    for rows in (pixels[:1000], pixels[1000:2000], pixels[2000:3000], pixels[3000:]):
        assert rows[..., :3].std() > 0.05


@pytest.mark.parametrize("width", [390, 800, 1280])
@pytest.mark.parametrize("report", [sample(), wordy()], ids=["sample", "wordy"])
def test_nothing_is_wider_than_the_window(browser: Browser, report: Report, width: int) -> None:
    html = POLICY.sub("", page.render(report)).replace("</body>", PROBE)
    assert browser.title(html, width) == f"{width} {width} "


@pytest.mark.parametrize(("width", "most"), [(390, 11_500), (1280, 6_000)])
def test_the_page_is_short_and_a_charts_text_can_be_read(
    browser: Browser, width: int, most: int
) -> None:
    html = POLICY.sub("", page.render(sample())).replace("</body>", MEASURE)
    height, smallest = map(float, browser.title(html, width).split())
    assert height < most
    assert smallest > 11  # pixels


@pytest.mark.parametrize("text", HOSTILE[:3])
def test_what_a_report_says_is_never_run(browser: Browser, text: str) -> None:
    html = page.render(small({"process": Cell(text=text, note=text)}, text=text))
    dump, console = browser.run(html, "--dump-dom")
    assert "<script" not in dump
    assert console == []


def test_the_policy_stops_a_script_if_there_were_one(browser: Browser) -> None:
    script = f"{HOSTILE[0]}</body>"
    html = page.render(small({})).replace("</body>", script)
    dump, console = browser.run(html, "--dump-dom")
    assert "<title>taken" not in dump
    assert "Content Security Policy" in console[0]
    dump, _ = browser.run(POLICY.sub("", html), "--dump-dom")
    assert "<title>taken" in dump  # as it would be without one


def test_on_paper_the_details_are_open(browser: Browser, tmp_path: Path) -> None:
    def pages(html: str) -> int:
        paper = tmp_path / "page.pdf"
        browser.run(html, f"--print-to-pdf={paper}")
        return len(re.findall(rb"/Type\s*/Page\b", paper.read_bytes()))

    html = page.render(sample())
    without = re.sub("<details>.*?</details>", "", html, flags=re.DOTALL)
    assert pages(html) > pages(without)
