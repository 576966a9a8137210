"""Python source as prose: its docstrings, each under the qualified name and signature of what it documents."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def docstrings(source: str, module: str) -> str:
    """The docstrings of a module and of its public classes and functions, in the order of the source.

    Args:
        source: Python source; it is parsed, never run.
        module: dotted name of the module.

    Raises:
        SyntaxError, ValueError, RecursionError: this Python cannot parse it.
    """
    return "\n\n".join(_entries(ast.parse(source), module))


def _entries(node: Documented, name: str) -> Iterator[str]:
    text = ast.get_docstring(node)
    if text:
        yield f"{_heading(node, name)}\n\n{inspect.cleandoc(text)}"
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and _public(child.name):
            yield from _entries(child, f"{name}.{child.name}")


def _heading(node: Documented, name: str) -> str:
    if isinstance(node, ast.Module):
        return f"Module {name}"
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(map(ast.unparse, node.bases))
        return f"class {name}({bases})" if bases else f"class {name}"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{name}({ast.unparse(node.args)}){returns}"


def _public(name: str) -> bool:
    return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))
