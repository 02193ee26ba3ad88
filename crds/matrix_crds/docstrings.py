"""The docstrings below fields, read from the source: only generators need them, so that importing the models stays quick."""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache


@cache
def _of_module(module: str) -> dict[str, dict[str, str]]:
    """class -> attribute -> docstring."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: _of_class(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def _of_class(node: ast.ClassDef) -> dict[str, str]:
    return {
        before.target.id: inspect.cleandoc(after.value.value)
        for before, after in zip(node.body, node.body[1:], strict=False)
        if isinstance(before, ast.AnnAssign)
        and isinstance(before.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
        and isinstance(after.value.value, str)
    }


def field_docs(cls: type) -> dict[str, str]:
    """attribute -> docstring, of the class and its bases."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base.__module__ in sys.modules and base.__module__.startswith("matrix_crds"):
            docs |= _of_module(base.__module__).get(base.__name__, {})
    return docs
