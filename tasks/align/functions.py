"""Questions about documented Python code and their answers: a function's signature, and its docstring."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import xxhash

MAX_SIGNATURE = 160
FUNCTION_QUESTIONS = (
    "What does `{}` do?", "Explain what `{}` does.", "What is `{}` for?", "Describe the function `{}`.",
)  # fmt: skip
CLASS_QUESTIONS = (
    "What is the class `{}`?", "Explain the class `{}`.", "What is the class `{}` for?", "Describe the class `{}`.",
)  # fmt: skip

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Pair:
    """A question, its answer, and the document that it is from."""

    question: str
    answer: str
    document_id: str


def documented(text: str, module: str, document_id: str) -> Iterator[Pair]:
    """A pair for each public function, method and class with a docstring, in the order of the file.

    Text that is no Python of this version gives none.

    Args:
        text: Python source.
        module: its dotted name.
        document_id: the document that it is.
    """
    tree = _parse(text)
    if tree:
        yield from _pairs(tree, module, document_id)


def first_paragraph(docstring: str) -> str:
    """What comes before the first blank line, on one line."""
    return " ".join(re.split(r"\n\s*\n", docstring.strip(), maxsplit=1)[0].split())


def signature(node: Function, is_method: bool) -> str:
    """The parameters as they are written, without annotations, ``self`` and ``cls``; ``...`` if they are many."""
    arguments = ast.parse(f"def f({ast.unparse(node.args)}): pass").body[0]
    assert isinstance(arguments, ast.FunctionDef)
    parameters = arguments.args
    for argument in [*parameters.posonlyargs, *parameters.args, *parameters.kwonlyargs]:
        argument.annotation = None
    for argument in filter(None, (parameters.vararg, parameters.kwarg)):
        argument.annotation = None
    first = parameters.posonlyargs or parameters.args
    if is_method and first and first[0].arg in ("self", "cls"):
        del first[0]
    written = ast.unparse(parameters)
    return f"({written})" if len(written) <= MAX_SIGNATURE else "(...)"


def _parse(text: str) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _pairs(node: ast.Module | ast.ClassDef, name: str, document_id: str) -> Iterator[Pair]:
    for inner in node.body:
        if not isinstance(inner, Function | ast.ClassDef) or inner.name.startswith("_"):
            continue
        inner_name = f"{name}.{inner.name}"
        docstring = ast.get_docstring(inner)
        if docstring:
            question = _question(inner, inner_name, isinstance(node, ast.ClassDef))
            yield Pair(question, first_paragraph(docstring), document_id)
        if isinstance(inner, ast.ClassDef):
            yield from _pairs(inner, inner_name, document_id)


def _question(node: Function | ast.ClassDef, name: str, is_method: bool) -> str:
    """One of a few phrasings, chosen by the name's hash."""
    if isinstance(node, ast.ClassDef):
        phrasings, what = CLASS_QUESTIONS, name
    else:
        phrasings, what = FUNCTION_QUESTIONS, name + signature(node, is_method)
    return phrasings[xxhash.xxh3_64_intdigest(name.encode()) % len(phrasings)].format(what)
