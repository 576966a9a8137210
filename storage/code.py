"""The code hash: which definitions of this project a function reaches, and a hash of each.

The hash of a definition is taken from its normalised syntax tree: comments, docstrings, annotations,
formatting and log calls are left out, so that only a change of behaviour changes it. References are
followed statically from name to definition within the project's own packages; nothing is imported.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGES = ("flows", "tasks", "storage", "monitoring")
LOGGERS = {"log", "logger"}
WATCHERS = {
    "monitoring.events", "monitoring.progress", "monitoring.tracking", "storage.lease", "storage.lineage",
    "storage.manifest", "storage.steplog", "tasks.process", "tasks.step",
}  # fmt: skip
"""Modules that watch, index or guard the work and shape none of its output: they do not count."""

Reference = tuple[str, str]
"""(module, name); the name is "" for a module as a whole."""


@dataclass(frozen=True)
class Module:
    """A parsed module: its own definitions, and what its imports bind."""

    definitions: dict[str, list[ast.stmt]]
    imports: dict[str, Reference]


def code_hashes(*entries: str) -> dict[str, str]:
    """Hash every definition reachable from ``entries``.

    Args:
        entries: ``"package.module:name"`` of each function to start from.

    Returns:
        ``"package.module:name"`` → hash, for each definition reached.
    """
    waiting = [_entry(e) for e in entries]
    seen: dict[str, str] = {}
    while waiting:
        module, name = waiting.pop()
        if f"{module}:{name}" in seen or module in WATCHERS:
            continue
        nodes = _definition(module, name)
        seen[f"{module}:{name}"] = hashlib.sha256("\n".join(map(ast.unparse, nodes)).encode()).hexdigest()[:16]
        for node in nodes:
            waiting.extend(_references(node, module))
    return dict(sorted(seen.items()))


def _entry(entry: str) -> Reference:
    module, _, name = entry.partition(":")
    return module, name


def _definition(module: str, name: str) -> list[ast.stmt]:
    parsed = _parse(module)
    if not name:
        return [node for nodes in parsed.definitions.values() for node in nodes]
    if name not in parsed.definitions:
        raise LookupError(f"{module} defines no {name!r}: the code hash cannot follow it")
    return parsed.definitions[name]


@cache
def _parse(module: str) -> Module:
    tree = _Normalise().visit(ast.parse(_source(module)))
    definitions: dict[str, list[ast.stmt]] = {}
    imports: dict[str, Reference] = {}
    for node in _statements(tree.body):
        imports.update(_imported(node))
        for name in _bound(node):
            definitions.setdefault(name, []).append(node)
    return Module(definitions, imports)


def _source(module: str) -> str:
    path = _path(module)
    if path is None:
        raise LookupError(f"no source file for module {module}")
    return path.read_text()


@cache
def _path(module: str) -> Path | None:
    """The file of a module of this project, found below its top package without importing anything."""
    package, *parts = module.split(".")
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or []:
        place = Path(folder, *parts)
        for file in (place / "__init__.py", place.with_suffix(".py")):
            if file.is_file():
                return file
    return None


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements at module level, those inside ``if`` and ``try`` too."""
    for node in body:
        if isinstance(node, ast.If):
            yield from _statements(node.body + node.orelse)
        elif isinstance(node, ast.Try):
            yield from _statements(node.body + node.orelse + node.finalbody)
        else:
            yield node


def _bound(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))


def _imported(node: ast.AST) -> dict[str, Reference]:
    """What an import statement binds, if it is of this project."""
    bound: dict[str, Reference] = {}
    if isinstance(node, ast.ImportFrom) and node.module and _is_ours(node.module):
        for alias in node.names:
            bound[alias.asname or alias.name] = _resolve(node.module, alias.name)
    elif isinstance(node, ast.Import):
        for alias in node.names:
            if alias.asname and _is_ours(alias.name):
                bound[alias.asname] = (alias.name, "")
    return bound


def _resolve(module: str, name: str) -> Reference:
    """``from module import name``: a definition of the module, or a module below it."""
    below = f"{module}.{name}"
    return (below, "") if _path(below) else (module, name)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in PACKAGES


def _references(node: ast.AST, module: str) -> Iterator[Reference]:
    """The project's definitions that ``node`` names, directly or through an imported module."""
    parsed = _parse(module)
    bindings = dict(parsed.imports)
    for inner in ast.walk(node):
        bindings.update(_imported(inner))
    through_module: set[int] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name):
            target, name = bindings.get(inner.value.id, ("", "?"))
            if target and not name:
                through_module.add(id(inner.value))
                yield from _known(target, inner.attr)
        elif isinstance(inner, ast.Name) and id(inner) not in through_module:
            if inner.id in bindings:
                yield from _known(*bindings[inner.id])
            elif inner.id in parsed.definitions:
                yield module, inner.id


def _known(module: str, name: str) -> Iterator[Reference]:
    """Follow a re-export to where the name is defined."""
    parsed = _parse(module)
    if not name or name in parsed.definitions:
        yield module, name
    elif name in parsed.imports:
        yield from _known(*parsed.imports[name])


class _Normalise(ast.NodeTransformer):
    """Drop what does not change behaviour: docstrings, annotations, log calls, ``@step``."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        node.decorator_list = [d for d in node.decorator_list if not _is_step(d)]
        self.generic_visit(node)
        node.body = _without_docstring(node.body)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        node.body = _without_docstring(node.body)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        node.annotation = ast.Constant(None)
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        self.generic_visit(node)
        return None if _is_log_call(node.value) else node


def _is_step(decorator: ast.expr) -> bool:
    function = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(function, ast.Name) and function.id == "step"


def _is_log_call(node: ast.expr) -> bool:
    function = node.func if isinstance(node, ast.Call) else None
    base = function.value if isinstance(function, ast.Attribute) else None
    return isinstance(base, ast.Name) and base.id in LOGGERS


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    kept = [n for n in body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
    return kept or [ast.Pass()]
