"""The documentation site, built and looked at in a browser: at two widths, light and dark."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.image import imread

pytestmark = [pytest.mark.needs_chromium, pytest.mark.slow]

TOP = Path(__file__).parents[1]
PAGES = sorted(
    str(path.relative_to(TOP / "docs").with_suffix(""))
    for pattern in ("*.md", "labs/*/text.md")
    for path in (TOP / "docs").glob(pattern)
)
SLIDES = "slides/first-lecture.html"
LOADED = re.compile(r'<(?:link|script|img|iframe|source)\b[^>]*?(?:href|src)="([^"]+)"')
# Says in the title which pages have an element that reaches beyond the frame, and how far. What
# scrolls by itself may: code and tables.
PROBE = """<title></title><iframe width="{width}" height="900"></iframe><script>
const wide = [], frame = document.querySelector("iframe"), pages = {pages};
frame.onload = () => {{
  const page = frame.contentDocument.documentElement;
  if (page.scrollWidth > page.clientWidth) wide.push(pages[0], page.scrollWidth);
  pages.shift();
  if (pages.length) frame.src = pages[0]; else document.title = "wide: " + wide;
}};
frame.src = pages[0];
</script>"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("docs")
    slides = ["-b", "revealjs", "-c", str(TOP / "docs/slides")]
    for options, place in (([], "site"), (slides, "site/slides")):
        command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going"]
        command += [*options, "--doctree-dir", str(folder / f"doctrees-{len(options)}")]
        command += [str(TOP / "docs"), str(folder / place)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    return folder / "site"


class Browser:
    """Chromium without a window, in a folder of its own, and with no network."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._command = [
            "unshare", "--net", shutil.which("chromium") or "chromium",
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--hide-scrollbars", "--enable-logging=stderr", "--v=0",
            "--virtual-time-budget=10000", f"--user-data-dir={folder}/chromium",
        ]  # fmt: skip

    def run(self, address: str, *options: str) -> tuple[str, list[str]]:
        """What it prints of the page, and what the page's console says."""
        done = subprocess.run(
            [*self._command, *options, address],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self._folder), "TZ": "UTC"},
        )
        said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return done.stdout, [line for line in said if "source: chrome://" not in line]  # its own


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    return Browser(tmp_path)


def test_each_page_loads_only_files_of_the_site(site: Path) -> None:
    styles = set()
    for page in site.rglob("*.html"):
        for address in LOADED.findall(page.read_text()):
            if address == "#" or address.startswith("data:"):  # `#` is the search itself
                continue
            file = page.parent / address.partition("?")[0].partition("#")[0]
            assert file.is_file(), f"{page}: {address}"
            styles |= {file.resolve()} if file.suffix == ".css" else set()
    assert styles
    for style in styles:
        for address in re.findall(r"url\(['\"]?((?!data:)[^'\")]+)", style.read_text()):
            file = style.parent / address.partition("?")[0].partition("#")[0]
            assert file.is_file(), f"{style}: {address}"


def test_each_link_within_the_site_leads_somewhere(site: Path) -> None:
    pages = {path: path.read_text() for path in site.rglob("*.html")}
    anchors = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in pages.items()}
    for path, text in pages.items():
        for address in re.findall(r'<a [^>]*?href="([^"]*)"', text):
            if re.match(r"[a-z]+:", address):
                continue
            name, _, anchor = address.partition("#")
            target = (path.parent / name).resolve() if name else path
            assert target.exists(), f"{path}: {address}"
            assert not anchor or target not in anchors or anchor in anchors[target], address


@pytest.mark.needs_root
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [500, 1280])
def test_the_console_is_empty_and_the_page_is_not(
    site: Path, browser: Browser, tmp_path: Path, width: int, scheme: str
) -> None:
    picture = tmp_path / "page.png"
    options = [f"--window-size={width},1500", f"--screenshot={picture}"]
    if scheme == "dark":
        options += ["--blink-settings=preferredColorScheme=0"]
    for page in ("index", "tour", "command-line", "python"):
        _, console = browser.run((site / f"{page}.html").as_uri(), *options)
        assert console == []
        pixels = imread(picture)[..., :3]
        assert pixels.shape[:2] == (1500, width)
        assert pixels[:1000].std() > 0.05
        assert (pixels.mean() < 0.4) == (scheme == "dark")


def test_the_site_has_no_solution_of_a_lab(site: Path) -> None:
    assert [*site.rglob("*tests*")]  # there are pages of tests
    assert not [*site.rglob("solutions*"), *site.rglob("reference*"), *site.rglob("wrong.toml*")]


@pytest.mark.needs_root
def test_a_slide_has_what_the_page_shows_and_the_paragraphs_are_notes(
    site: Path, browser: Browser
) -> None:
    dump, console = browser.run(f"{(site / SLIDES).as_uri()}#/1", "--dump-dom")
    assert console == []
    present = re.findall(r'<section [^>]*class="[^"]*\bpresent\b[^>]*>(.*?)</section>', dump, re.S)
    assert "A kernel module that crashes" in present[-1]
    shown = re.sub(r'<aside class="notes">.*?</aside>', "", dump, flags=re.S)
    assert "All three need a boundary around them" in dump
    assert "All three need a boundary around them" not in shown


@pytest.mark.needs_root
@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_the_window(site: Path, browser: Browser, width: int) -> None:
    pages = [f"{page}.html" for page in PAGES] + ["code/src/ringlet/machine/runloop.py.html"]
    (site / "probe.html").write_text(PROBE.format(width=width, pages=pages))
    options = ["--window-size=1400,1000", "--dump-dom", "--allow-file-access-from-files"]
    dump, _ = browser.run((site / "probe.html").as_uri(), *options)
    assert "<title>wide: </title>" in dump


@pytest.mark.needs_root
def test_the_search_works_from_the_file_and_with_no_network(site: Path, browser: Browser) -> None:
    address = (site / "search.html").as_uri()
    dump, console = browser.run(f"{address}?q=eventfd", "--dump-dom")
    assert console == []
    results = dump.partition('id="search-results"')[2]
    assert 'href="design.html' in results
