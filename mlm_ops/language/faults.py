"""What is wrong with an analysis file, in our words: a clause for each of pydantic's findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from mlm_ops.language.nearest import nearest
from mlm_ops.language.options import EXPECTED, shown

#: Faults of one kind that are told one by one.
MOST_TOLD = 20


def sentences(error: ValidationError, keys: Mapping[str, Sequence[str]]) -> str:
    """Every fault in one sentence.

    Parameters
    ----------
    error
        What pydantic found.
    keys
        Keys of an analysis file under ``""``, and of the mappings below ``models`` and ``sem``.
    """
    faults = error.errors(include_url=False)
    unknown = [fault for fault in faults if fault["type"] == "extra_forbidden"]
    others = [fault for fault in faults if fault["type"] != "extra_forbidden"]
    first = {_place(fault): fault for fault in reversed(others)}
    clauses = [_clause(fault) for fault in list(first.values())[::-1][:MOST_TOLD]]
    if len(first) > MOST_TOLD:
        clauses.append(f"and {len(first) - MOST_TOLD:,} more faults")
    for part, known in keys.items():
        places = [fault["loc"] for fault in unknown]
        names = [loc for loc in places if (loc[0] if len(loc) > 1 and loc[0] in keys else "") == part]
        if names:
            clauses.append(_unknown(names, known))
    return "; ".join(dict.fromkeys(clauses)) + "."


def _unknown(places: Sequence[tuple[int | str, ...]], known: Sequence[str]) -> str:
    """Unknown keys, each with the one that is nearest; what there is, once."""
    named = []
    for place in places[:MOST_TOLD]:
        near = nearest(str(place[-1]), known)
        named.append(repr(_path(place)) + (f" (did you mean {near!r}?)" if near else ""))
    more = f" and {len(places) - MOST_TOLD:,} more" if len(places) > MOST_TOLD else ""
    return f"unknown key{'s' if len(named) > 1 else ''} {', '.join(named)}{more}; expected one of {', '.join(known)}"


def _clause(fault: Mapping[str, Any]) -> str:
    place, kind, found = _place(fault), fault["type"], fault["input"]
    if kind == "value_error":
        return str(fault["ctx"]["error"])
    if kind == "missing":
        return f"the key {_path(place)!r} is missing"
    if kind == "literal_error":
        expected = str(fault["ctx"]["expected"]).replace("'", "").replace(" or ", ", ")
        return f"unknown {_path(place)}: got {shown(found)}; expected one of {expected}"
    if kind == "unexpected_keyword_argument":
        return f"unknown key {_path(place)!r}; expected {EXPECTED[str(place[0])]}"
    if place == ("models",):
        return "models holds no model: got none; expected at least one, as in null: y ~ 1 + (1 | school)"
    key = next((str(part) for part in reversed(place) if part in EXPECTED), "formula")
    got = "nothing" if found in ("", None) else shown(found)
    return f"{_path(place)}: got {got}; expected {EXPECTED[key]}"


def _place(fault: Mapping[str, Any]) -> tuple[int | str, ...]:
    """Where a fault is; below ``covariance`` pydantic adds each kind that a value might have been."""
    place: tuple[int | str, ...] = fault["loc"]
    return place[: place.index("covariance") + 2] if "covariance" in place else place


def _path(place: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in place)
