"""Write a model read from Mplus as text: terms with their values, labels and vectors over groups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlm_ops.language.model import number_text
from mlm_ops.structural.language.model import BETWEEN, WITHIN, Item, Operator


def model_lines(items: Iterable[Item]) -> list[str]:
    """The model's text: a line for each left side and operator."""
    lines: list[str] = []
    for level in (WITHIN, BETWEEN):
        lines.append(f"level: {level}")
        right: dict[tuple[str, Operator], list[str]] = {}
        for item in items:
            if item.level == level:
                operator: Operator = "~" if item.op == "~1" else item.op
                is_first = item.op == "=~" and (item.lhs, operator) not in right
                key = (item.lhs, item.op)
                right.setdefault(key, []).append(_term(item, free=is_first))
        for (lhs, op), terms in right.items():
            lines.append(f"  {lhs} {'~' if op == '~1' else op} {' + '.join(terms)}")
    return lines


def _term(item: Item, *, free: bool) -> str:
    """One term with its modifiers; `free` where a star frees what would be fixed."""
    if item.slope is not None:
        return f'rv("{item.slope}")*{item.rhs}'
    if item.by_group:
        return "*".join([*_vectors(item.by_group), item.rhs or "1"])
    # NA frees a parameter, unless it is called a label
    parts = [] if item.label is None else ['label("NA")' if item.label == "NA" else item.label]
    if item.fixed is not None:
        parts.append(number_text(item.fixed))
    elif item.freed and free:
        parts.append("NA")
    if item.start is not None:
        parts.append(f"start({number_text(item.start)})")
    return "*".join([*parts, item.rhs or "1"])


def _vectors(items: Sequence[Item]) -> list[str]:
    """``c(a1, a2)``, ``c(0, NA)`` or both."""
    words = ['"NA"' if item.label == "NA" else item.label for item in items]
    values = ["NA" if item.fixed is None else number_text(item.fixed) for item in items]
    is_double = all(words) and any(item.fixed is not None or item.op == "=~" for item in items)
    if is_double:
        return [f"c({', '.join(map(str, words))})", f"c({', '.join(values)})"]
    if all(item.label is None and item.fixed is None for item in items) and items[0].op != "=~":
        return []
    return [f"c({', '.join(word or value for word, value in zip(words, values, strict=True))})"]
