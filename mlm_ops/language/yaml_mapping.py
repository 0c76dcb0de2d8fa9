"""YAML text -> one mapping of texts, lists and mappings; nothing in it is executed."""

from __future__ import annotations

from typing import Any

import yaml

from mlm_ops.errors import AnalysisError

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
        found = "a list" if isinstance(content, list) else "text" if content else "nothing"
        raise AnalysisError(f"The file holds no mapping. Got {found}; expected the keys analysis, data and models.")
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
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key is text, and here stands a list or mapping", key_node.start_mark
                )
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
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
