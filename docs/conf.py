"""How Sphinx builds the documentation. It needs no network."""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS / "_ext"), str(DOCS.parent)]

from pickup_core import __version__  # noqa: E402

project = "Pickup"
author = "The Pickup developers"
copyright = f"2010-2026, {author}"  # noqa: A001
release = version = __version__

extensions = ["command_line", "fault_tables", "man_pages", "profile_pages"]
exclude_patterns = ["_build", "explanation/figures.rst"]
nitpicky = True
smartquotes = False  # `--to` must stay what one types
default_role = "literal"  # in docstrings and here, `word` is a word of code

_about = "a modular backup script for cron"
man_pages = [
    ("reference/command-line", "pickup", _about, author, 1),
    ("reference/configuration", "pickup-config", f"the config of Pickup, {_about}", author, 5),
]

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["wrap.css"]
html_title = f"Pickup {release}"
html_copy_source = False
html_show_sphinx = False
