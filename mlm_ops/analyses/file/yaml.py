"""YAML text -> one mapping of texts, lists and mappings; nothing in it is executed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from mlm_ops.errors import AnalysisError
from mlm_ops.language.options import EXPECTED, shown
from mlm_ops.language.spelling import nearest

#: Ten times what a thousand models take; a longer file takes seconds to parse.
MOST_CHARACTERS = 1_000_000
#: Keys, texts, lists and mappings: a thousand models have a fifth of them, and a file with all takes seconds.
MOST_VALUES = 20_000
#: An alias is a few characters, and may stand for many.
MOST_ALIASES = 100


def parse_mapping(text: str) -> dict[Any, Any]:
    """Parse an analysis file's text.

    Raises
    ------
    AnalysisError
        It is no YAML, is very long, has tags, aliases or a key that stands twice, or holds no mapping.
    """
    if len(text) > MOST_CHARACTERS:
        raise AnalysisError(
            f"The file is too long for an analysis. Got more than {MOST_CHARACTERS:,} characters; put data and long "
            "conditions into a table or view."
        )
    try:
        content = yaml.load(text, Loader=_UniqueKeyLoader)
    except RecursionError as error:
        raise AnalysisError("The file is nested too deeply to be read; expected keys, and lists under them.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it does not parse"
        if problem.startswith("but "):
            problem = f"{getattr(error, 'context', '')}, {problem}"
        raise AnalysisError(f"The file is no valid YAML{where}: {problem}.") from error
    if not isinstance(content, dict):
        content_type = "a list" if isinstance(content, list) else "text" if content else "nothing"
        raise AnalysisError(
            f"The file holds no mapping. Got {content_type}; expected the keys analysis, data and models."
        )
    return content


class _UniqueKeyLoader(yaml.SafeLoader):
    """Every scalar is text, so that a model may be called null, or 2020; and no key stands twice.

    PyYAML keeps the last of two equal keys silently; a model would vanish.
    """

    aliases = values = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse aliases that multiply: of lists and mappings, and very many."""
        alias = self.check_event(yaml.AliasEvent)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.aliases += alias
        self.values += 1
        if self.values > MOST_VALUES:
            raise yaml.composer.ComposerError(
                None,
                None,
                f"more than {MOST_VALUES:,} keys and values are too many for an analysis; put data and long conditions "
                "into a table or view, and models into several files",
                node.start_mark if node else None,
            )
        if alias and (self.aliases > MOST_ALIASES or not isinstance(node, yaml.ScalarNode)):
            raise yaml.composer.ComposerError(
                None,
                None,
                f"an alias stands for a text, and at most {MOST_ALIASES} do; write it out",
                node.start_mark if node else None,
            )
        if isinstance(node, yaml.ScalarNode) and "\0" in node.value:
            raise yaml.composer.ComposerError(None, None, "a text holds the character NUL; remove it", node.start_mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse keys that stand twice."""
        keys: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key is text, and here stands a list or mapping", key_node.start_mark
                )
            key = self.construct_object(key_node, deep=True)
            if key in keys:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            keys.add(key)
        return super().construct_mapping(node, deep)

    def refuse_tag(self, node: yaml.Node) -> None:
        """Refuse a tag, harmless or not: there is nothing but text, lists and mappings."""
        raise yaml.constructor.ConstructorError(
            None, None, f"tags are not read, and here stands {node.tag!r}; remove it", node.start_mark
        )


_UniqueKeyLoader.yaml_implicit_resolvers = {}
_UniqueKeyLoader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag in {f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map")}
} | {None: _UniqueKeyLoader.refuse_tag}

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
    for part, allowed in keys.items():
        places = [fault["loc"] for fault in unknown]
        names = [loc for loc in places if (loc[0] if len(loc) > 1 and loc[0] in keys else "") == part]
        if names:
            clauses.append(_unknown_keys_clause(names, allowed))
    return "; ".join(dict.fromkeys(clauses)) + "."


def _unknown_keys_clause(places: Sequence[tuple[int | str, ...]], allowed: Sequence[str]) -> str:
    """Unknown keys, each with the one that is nearest; what there is, once."""
    quoted_keys = []
    for place in places[:MOST_TOLD]:
        near = nearest(str(place[-1]), allowed)
        quoted_keys.append(repr(_path(place)) + (f" (did you mean {near!r}?)" if near else ""))
    more = f" and {len(places) - MOST_TOLD:,} more" if len(places) > MOST_TOLD else ""
    return f"unknown key{'s' if len(quoted_keys) > 1 else ''} {', '.join(quoted_keys)}{more}; expected one of {', '.join(allowed)}"


def _clause(fault: Mapping[str, Any]) -> str:
    place, kind, value = _place(fault), fault["type"], fault["input"]
    if kind == "value_error":
        return str(fault["ctx"]["error"])
    if kind == "missing":
        return f"the key {_path(place)!r} is missing"
    if kind == "literal_error":
        expected = str(fault["ctx"]["expected"]).replace("'", "").replace(" or ", ", ")
        return f"unknown {_path(place)}: got {shown(value)}; expected one of {expected}"
    if kind == "unexpected_keyword_argument":
        return f"unknown key {_path(place)!r}; expected {EXPECTED[str(place[0])]}"
    if place == ("models",):
        return "models holds no model: got none; expected at least one, as in null: y ~ 1 + (1 | school)"
    key = next((str(part) for part in reversed(place) if part in EXPECTED), "formula")
    got = "nothing" if value in ("", None) else shown(value)
    return f"{_path(place)}: got {got}; expected {EXPECTED[key]}"


def _place(fault: Mapping[str, Any]) -> tuple[int | str, ...]:
    """Where a fault is; below ``covariance`` pydantic adds each kind that a value might have been."""
    place: tuple[int | str, ...] = fault["loc"]
    return place[: place.index("covariance") + 2] if "covariance" in place else place


def _path(place: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in place)
