"""Parse the YAML of an analysis file into texts, lists and mappings, and describe its faults; nothing is executed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from mlm_ops.analyses.file.keys import BY_OPTION, EXPECTED, MPLUS_KEY, TextInFile
from mlm_ops.errors import AnalysisError
from mlm_ops.language.option_values import value_text
from mlm_ops.language.other_programs import argument_here
from mlm_ops.language.spelling import list_names, nearest

#: The most characters of a file: ten times as many as a thousand models need. A longer one takes seconds to parse.
MOST_CHARACTERS = 1_000_000
#: The most keys, texts, lists and mappings: five times as many as a thousand models need. More take seconds to parse.
MOST_VALUES = 20_000
#: The most aliases, each of which may repeat a long text.
MOST_ALIASES = 100


def parse_mapping(text: str) -> dict[Any, Any]:
    """Parse an analysis file's text.

    Raises
    ------
    AnalysisError
        It is not YAML or not a mapping, is too long, or has tags, aliases of lists or mappings, or a key twice.
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
        raise AnalysisError(f"The file is not valid YAML{where}: {problem}.") from error
    if not isinstance(content, dict):
        content_type = "a list" if isinstance(content, list) else "text" if content else "nothing"
        raise AnalysisError(
            f"The file is not a mapping. Got {content_type}; expected the keys analysis, data and models."
        )
    return content


class _UniqueKeyLoader(yaml.SafeLoader):
    """Read every scalar as text, so that a model may be called null or 2020, and refuse duplicate keys.

    PyYAML silently keeps the last of two equal keys, and a model would be lost.
    """

    aliases = values = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse aliases of lists and mappings, which can multiply, and too many aliases or values."""
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
        """Refuse duplicate keys, and give an Mplus input written as a block the number of its first line."""
        keys: set[Any] = set()
        lines_above = None
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be text, not a list or mapping", key_node.start_mark
                )
            key = self.construct_object(key_node, deep=True)
            if key in keys:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} appears twice", key_node.start_mark
                )
            keys.add(key)
            if key == MPLUS_KEY and isinstance(value_node, yaml.ScalarNode) and value_node.style == "|":
                lines_above = value_node.start_mark.line + 1
        mapping = super().construct_mapping(node, deep)
        if lines_above is not None:
            mapping[MPLUS_KEY] = TextInFile(mapping[MPLUS_KEY], lines_above)
        return mapping

    def refuse_tag(self, node: yaml.Node) -> None:
        """Refuse every tag: an analysis file has only text, lists and mappings."""
        raise yaml.constructor.ConstructorError(
            None, None, f"the tag {node.tag!r} is not allowed; remove it", node.start_mark
        )


_UniqueKeyLoader.yaml_implicit_resolvers = {}
_UniqueKeyLoader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag in {f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map")}
} | {None: _UniqueKeyLoader.refuse_tag}

#: The most faults of one kind that are listed.
MOST_FAULTS = 20


def sentences(error: ValidationError, keys: Mapping[str, Sequence[str]]) -> str:
    """Write all faults: those of the file's form as one sentence, then the sentences of options.

    Parameters
    ----------
    error
        The error of pydantic.
    keys
        The keys of an analysis file under ``""``, and those of the mappings under ``models`` and ``sem``.
    """
    faults = error.errors(include_url=False)
    unknown = [fault for fault in faults if fault["type"] == "extra_forbidden"]
    others = [fault for fault in faults if fault["type"] != "extra_forbidden"]
    first = {fault["loc"]: fault for fault in reversed(others)}
    shown_faults = list(first.values())[::-1][:MOST_FAULTS]
    clauses = [_clause(fault) for fault in shown_faults if fault["type"] != BY_OPTION]
    if len(first) > MOST_FAULTS:
        clauses.append(f"and {len(first) - MOST_FAULTS:,} more faults")
    for part, allowed in keys.items():
        places = [fault["loc"] for fault in unknown]
        names = [loc for loc in places if (loc[0] if len(loc) > 1 and loc[0] in keys else "") == part]
        if names:
            clauses.append(_unknown_keys_clause(names, allowed))
    refusals = [_refusal(fault) for fault in shown_faults if fault["type"] == BY_OPTION]
    return " ".join(["; ".join(dict.fromkeys(clauses)) + "."] * bool(clauses) + refusals)


def _unknown_keys_clause(places: Sequence[tuple[int | str, ...]], allowed: Sequence[str]) -> str:
    """Write one clause about all unknown keys: each with the most similar key, and then the list of keys."""
    quoted_keys = []
    for place in places[:MOST_FAULTS]:
        near, elsewhere = nearest(str(place[-1]), allowed), argument_here(str(place[-1]), allowed).strip()
        hint = elsewhere.removesuffix(".") or (f"did you mean {near!r}?" if near else "")
        quoted_keys.append(repr(_path(place)) + (f" ({hint})" if hint else ""))
    names = list_names([*quoted_keys, *map(_path, places[MOST_FAULTS:])], MOST_FAULTS)
    plural = "s" if len(quoted_keys) > 1 else ""
    return f"unknown key{plural} {names}; expected one of {', '.join(allowed)}"


def _refusal(fault: Mapping[str, Any]) -> str:
    """The sentence about an option, preceded by the name of its model."""
    part, *rest = fault["loc"]
    of = {"models": "", "sem": " of sem"}
    return (f"Model {rest[0]!r}{of[part]}: " if part in of else "") + str(fault["msg"])


def _clause(fault: Mapping[str, Any]) -> str:
    place, kind, value = fault["loc"], fault["type"], fault["input"]
    if kind == "value_error":
        return str(fault["ctx"]["error"])
    if kind == "missing":
        return f"the key {_path(place)!r} is missing"
    if kind == "literal_error":
        expected = str(fault["ctx"]["expected"]).replace("'", "").replace(" or ", ", ")
        return f"unknown {_path(place)}: got {value_text(value)}; expected one of {expected}"
    if kind == "unexpected_keyword_argument":
        return f"unknown key {_path(place)!r}; expected {EXPECTED[str(place[0])]}"
    if place == ("models",):
        return "models is empty: got none; expected at least one, as in null: y ~ 1 + (1 | school)"
    key = next((str(part) for part in reversed(place) if part in EXPECTED), "formula")
    got = "nothing" if value in ("", None) else value_text(value)
    return f"{_path(place)}: got {got}; expected {EXPECTED[key]}"


def _path(place: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in place)
