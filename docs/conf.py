"""How Sphinx makes the site of this folder: `make docs` (docs/site.md says more)."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "ringlet"
copyright = "The ringlet developers"
version = release = version_of("ringlet")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "extensions.navigation",
    "extensions.command_line",
    "extensions.excerpts",
    "extensions.labs",
    "extensions.python_interface",
    "extensions.source_links",
]
exclude_patterns = ["extensions", "slides", "labs/*/starter", "labs/*/solution*"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4  # links to headings, by the names that a code host gives to headings
suppress_warnings = ["misc.highlighting_failure"]  # a command of more than one line, and its output
smartquotes = False  # `--exec` stays as it is
default_role = "code"  # docstrings have `names` as Markdown has them
python_maximum_signature_line_length = 80

html_theme = "furo"
html_title = "ringlet"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_search_summary = False  # a browser reads no second page from file://
html_use_index = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"
