"""What man pages need and HTML does not: a section of the page's first words, and links that are words alone."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.typing import ExtensionMetadata


class ManPage(SphinxPostTransform):
    """Changes a page that becomes a man page, after its links were resolved."""

    formats = ("man",)
    default_priority = 900

    def run(self, **kwargs: Any) -> None:
        page = next(self.document.findall(nodes.section))
        first = page.first_child_matching_class(nodes.section) or len(page)
        section = nodes.section("", nodes.title("", "Description"), *page[1:first], ids=["description"])
        page[1:first] = [section]
        for link in list(self.document.findall(nodes.reference)):
            if "://" not in link.get("refuri", ""):  # to another page, or within this one
                link.replace_self(nodes.emphasis("", link.astext()))


def setup(app: Sphinx) -> ExtensionMetadata:
    """Tell Sphinx of the change."""
    app.add_post_transform(ManPage)
    return {"parallel_read_safe": True}
