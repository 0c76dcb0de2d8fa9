"""YAML text -> one mapping of texts, lists and mappings; nothing in it is executed."""

from __future__ import annotations

from typing import Any

import yaml

from mlm_ops.errors import AnalysisError


def parse_mapping(text: str) -> dict[Any, Any]:
    """Parse an analysis file's text.

    Raises
    ------
    AnalysisError
        It is no YAML, has tags or a key that stands twice, or holds no mapping.
    """
    try:
        content = yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it does not parse"
        raise AnalysisError(f"The file is no valid YAML{where}: {problem}.") from error
    if not isinstance(content, dict):
        raise AnalysisError("The file holds no mapping; expected keys analysis, data and models.")
    return content


class _UniqueKeyLoader(yaml.SafeLoader):
    """Every scalar is text, so that a model may be called null, or 2020; and no key stands twice.

    PyYAML keeps the last of two equal keys silently; a model would vanish.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse keys that stand twice."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_UniqueKeyLoader.yaml_implicit_resolvers = {}
