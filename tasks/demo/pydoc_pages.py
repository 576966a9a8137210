"""Writes the standard library's documentation as linked HTML pages; a program run by ``render_pydoc``.

It runs without this project on its path, so it imports nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import html
import importlib
import io
import json
import os
import pkgutil
import pydoc
import re
import sys
import types
from collections.abc import Collection, Iterator
from pathlib import Path

LIBRARY = os.path.dirname(os.__file__)
LEFT_OUT = frozenset(["antigravity", "this", "idlelib", "turtle", "turtledemo", "tkinter", "test", "tests", "lib2to3"])
TABLES = frozenset(["encodings"])
MACHINE = (LIBRARY, sys.prefix, sys.base_prefix, sys.executable, os.path.dirname(os.path.abspath(__file__)))
ADDRESS = re.compile(r"(&nbsp;| )(at|handle)(&nbsp;| )(0x)?[0-9a-fA-F]{6,}")
FILE_LINK = re.compile(r'<a href="file:[^"]*">.*?</a>(<br>)?')
PAGE_LINK = re.compile(r'<a href="(?!https?:|#)([^"#]*)(#[^"]*)?">(.*?)</a>', re.DOTALL)
PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title></head>
<body>
{body}
</body></html>
"""
NOTES = "The working notes of this site's keeper. Its robots.txt asks crawlers not to fetch them."


class Documenter(pydoc.HTMLDoc):
    """pydoc's own pages, but data that tells of this machine (``sys.path``, ``sys.modules``) is only named."""

    def docother(self, object: object, name: str | None = None, *rest: object) -> str:
        """A datum as HTML."""
        shown = super().docother(object, name, *rest)
        return f"<strong>{name}</strong>" if any(path in repr(object) for path in MACHINE) else str(shown)


def main(out: str, *chosen: str) -> None:
    """Render the modules named (or all) and what is below them into the folder ``out``."""
    sys.argv[:] = sys.orig_argv[:] = ["python"]
    modules, failed = load(sorted(names(chosen)))
    documenter = Documenter()
    pages = {name: scrub(documenter.document(module, name)) for name, module in modules.items()}
    for name, body in pages.items():
        write(out, f"{name}.html", f"Python: module {name}", only_known_links(body, pages))
    items = "\n".join(f'<li><a href="{name}.html">{name}</a></li>' for name in pages)
    notes = '<p><a href="private/notes.html">Notes</a></p>'
    write(out, "index.html", "Python: modules", f"<h1>Modules of Python</h1>\n<ul>\n{items}\n</ul>\n{notes}")
    os.mkdir(os.path.join(out, "private"))
    write(out, "private/notes.html", "Notes", f"<p>{NOTES}</p>")
    Path(out, "robots.txt").write_text("User-agent: *\nAllow: /\nDisallow: /private/\n")
    json.dump({"modules": len(pages), "failed": failed}, sys.stdout)


def write(out: str, file: str, title: str, body: str) -> None:
    """Write one page, its title escaped."""
    page = PAGE.format(title=html.escape(title), body=body)
    Path(out, file).write_text(page, encoding="utf-8", errors="backslashreplace")


def names(chosen: Collection[str]) -> Iterator[str]:
    """Public modules of the standard library and those below them, without tests, toys and code tables."""
    for top in filter(public, chosen or sys.stdlib_module_names):
        yield top
        yield from below(os.path.join(LIBRARY, top), top)


def below(folder: str, package: str) -> Iterator[str]:
    """Public modules below a package, found without importing it."""
    for found in pkgutil.iter_modules([folder] if package not in TABLES else []):
        if public(found.name):
            yield f"{package}.{found.name}"
            yield from below(os.path.join(folder, found.name), f"{package}.{found.name}")


def public(name: str) -> bool:
    """Whether a module of this name has a page."""
    return not name.startswith("_") and name not in LEFT_OUT


def load(wanted: list[str]) -> tuple[dict[str, types.ModuleType], dict[str, str]]:
    """The modules that can be imported here, and why the others cannot; what they print is swallowed."""
    modules, failed = dict[str, types.ModuleType](), dict[str, str]()
    for name in wanted:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            try:
                modules[name] = importlib.import_module(name)
            except (Exception, SystemExit) as error:  # noqa: BLE001
                failed[name] = type(error).__name__
    return modules, failed


def scrub(body: str) -> str:
    """Take out what is of this machine or moment: links to files, paths of Python, addresses of objects."""
    body = ADDRESS.sub("", FILE_LINK.sub("", body)).replace(LIBRARY, "lib/python")
    return body.replace(html.escape(sys.executable, quote=False), "python")


def only_known_links(body: str, known: Collection[str]) -> str:
    """Unlink the pages that this site does not have; pydoc's ``.`` is the index."""

    def one(link: re.Match[str]) -> str:
        target, fragment, text = link[1], link[2] or "", link[3]
        if target == ".":
            return f'<a href="index.html">{text}</a>'
        return f'<a href="{target}{fragment}">{text}</a>' if target.removesuffix(".html") in known else text

    return PAGE_LINK.sub(one, body)


if __name__ == "__main__":
    main(*sys.argv[1:])
