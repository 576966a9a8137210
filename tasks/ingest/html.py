"""The text of an HTML page: main content as plain text, with headings, lists and preformatted text kept."""

from __future__ import annotations

import re
from dataclasses import dataclass

TERM = re.compile(r"(?=<dt[\s>])", re.IGNORECASE)
BLANKS = re.compile(r"[ \t\r\f\v\xa0]+$", re.MULTILINE)
LEADING_TABS = re.compile(r"^[ \xa0]*\t+[ \xa0\t]*", re.MULTILINE)
TABS = re.compile(r"\t+")
GAPS = re.compile(r"\n{3,}")


@dataclass(frozen=True)
class Extracted:
    """Title and text of a page; either may be empty."""

    title: str
    text: str


def extract_html(page: str) -> Extracted:
    """Main content of an HTML page by resiliparse's rules (Bevendorff et al., ECIR 2018).

    A definition list's terms begin a paragraph, so that the documentation of one function stays apart
    from the next one's.
    """
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(TERM.sub("<br><br>", page))
    title = " ".join((tree.title or "").split())
    text = extract_plain_text(tree, main_content=True, preserve_formatting=True, alt_texts=False)
    return Extracted(title, tidy(text))


def tidy(text: str) -> str:
    """Without blanks at line ends, tabs of layout tables, and more than one empty line in a row."""
    text = TABS.sub(" ", LEADING_TABS.sub("", text.replace("\xa0", " ")))
    return GAPS.sub("\n\n", BLANKS.sub("", text)).strip()
