"""One word, one thing: no two classes of one name in the package, and no type of a record's name."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import mlm_ops

PACKAGE = Path(mlm_ops.__file__).parent
MODULES = {str(path.relative_to(PACKAGE)): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def classes(tree: ast.AST) -> Iterator[ast.ClassDef]:
    """Every class, those inside functions and classes included."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def is_record(node: ast.ClassDef) -> bool:
    """Whether it is a dataclass or a named tuple."""
    marks = [*node.decorator_list, *node.bases]
    return any("dataclass" in ast.unparse(mark) or "NamedTuple" in ast.unparse(mark) for mark in marks)


def types(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Names that a module gives to types, and the types: ``Sums = tuple[Array, Array]``."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name, value = node.targets[0].id, ast.unparse(node.value)
            if name[0].isupper() and not name.isupper() and not value.startswith("TypeVar"):
                yield name, value


def test_no_two_classes_have_one_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for module, tree in MODULES.items():
        for node in classes(tree):
            places[node.name].append(module)
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


def test_no_type_has_the_name_of_a_record() -> None:
    records = {node.name: module for module, tree in MODULES.items() for node in classes(tree) if is_record(node)}
    named = [(name, module) for module, tree in MODULES.items() for name, _ in types(tree)]
    assert [(name, module, records[name]) for name, module in named if name in records] == []


def test_the_package_was_read() -> None:
    names = {node.name for tree in MODULES.values() for node in classes(tree)}
    assert {"Fit", "SemFit", "CellTable", "Moments"} <= names
    assert dict(types(MODULES["language/symbols.py"]))["Index"] == "tuple[int, ...]"
