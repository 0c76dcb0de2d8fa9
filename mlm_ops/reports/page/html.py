"""Assemble a page as HTML: every text is escaped and made visible, and only our own drawings are let through."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from mlm_ops.reports.page.markup import own_file, policy, script, style
from mlm_ops.results.words import count, visible

_P = re.compile(r"\bp ([<=]) ")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(own_file),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_readable,
    )
    environment.filters |= {"count": count, "tied": _tied}
    return environment


def _tied(text: str) -> str:
    """A sentence whose p values are on one line."""
    return _P.sub("p\u00a0\\1\u00a0", text)


def _readable(value: object) -> object:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def render(template: str, **content: Any) -> str:
    """A template of this folder with its style, its script and its content security policy."""
    own_style, own_script = style(), script()
    return (
        _environment()
        .get_template(template)
        .render(style=own_style, script=own_script, policy=policy(own_style, own_script), **content)
    )
