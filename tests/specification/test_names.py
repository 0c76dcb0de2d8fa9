"""No two classes have one name, and no type a record's; a file is one subject, and a function fits a screen."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import mlm_ops

PACKAGE = Path(mlm_ops.__file__).parent
#: Lines of a file, and of a function without its docstring: more are two subjects, or do not fit a screen.
LONGEST_FILE, LONGEST_FUNCTION = 450, 60
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


def function_lengths(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every function with its lines, from ``def`` on, without those of its docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            has_docstring = ast.get_docstring(node) is not None
            docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
            yield node.name, (node.end_lineno or 0) - node.lineno + 1 - docstring


def test_no_file_is_long() -> None:
    lengths = {module: len((PACKAGE / module).read_text().splitlines()) for module in MODULES}
    assert {module: lines for module, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_no_function_is_long() -> None:
    functions = ((module, *one) for module, tree in MODULES.items() for one in function_lengths(tree))
    assert [one for one in functions if one[2] > LONGEST_FUNCTION] == []


def test_a_docstring_is_no_part_of_a_functions_length() -> None:
    text = 'def f(\n    x,\n):\n    """Say.\n\n    More.\n    """\n    def g():\n        return x\n    return g\n'
    assert list(function_lengths(ast.parse(text))) == [("f", 6), ("g", 2)]


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
