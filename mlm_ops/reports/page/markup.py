"""Let only our own drawings and plain equations through into a page, besides text."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files
from xml.etree import ElementTree as Xml

from markupsafe import Markup

from mlm_ops.reports.pictures.theme import COLOURS
from mlm_ops.results.equations.mathml import NAMESPACE, STYLE

_IN_BACKTICKS = re.compile("`([^`<>]+)`")
#: The elements of MathML Core that equations may hold, and attributes of theirs that only say how they look.
_ELEMENTS = frozenset(
    {"math", "mtable", "mtr", "mtd", "mi", "mn", "mo", "mtext", "mrow", "mspace", "mfrac"}
) | frozenset({"msub", "msup", "msubsup", "mover", "munder"})
_ATTRIBUTES = frozenset({"display", "class", "columnspan", "lspace", "rspace", "width", "separator"}) | frozenset(
    {"form", "mathvariant", "stretchy"}
)


def equations(text: str) -> Markup:
    """Stored equations as a part of the page; nothing where they hold more than MathML, as a store may be changed."""
    try:
        root = Xml.fromstring(text)
    except (Xml.ParseError, ValueError):
        return Markup()
    for node in root.iter():
        tag = node.tag.removeprefix(f"{{{NAMESPACE}}}") if isinstance(node.tag, str) else ""
        if tag not in _ELEMENTS or not set(node.attrib) <= _ATTRIBUTES:
            return Markup()
    # names stand in equations as they are, without what a formula needs around them
    return Markup(_IN_BACKTICKS.sub(r"\1", text.replace(f' xmlns="{NAMESPACE}"', "", 1)))  # HTML knows the element


def own_file(name: str) -> str:
    """A file of this folder."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def style() -> Markup:
    """The style sheet of every page, with the colours of pictures as variables."""
    light, dark = (
        "".join(f"--{name[1:].replace('_', '-')}:{pair[ground]};" for name, pair in COLOURS.items())
        for ground in (0, 1)
    )
    colours = f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    return Markup(colours + STYLE + _squeezed(own_file("style.css")))


def script() -> Markup:
    """The finder; the page is whole without it."""
    return Markup(_squeezed(own_file("script.js")))


def policy(style_text: str, script_text: str) -> str:
    """The content security policy: this style and this script, and nothing else."""
    return (
        f"default-src 'none'; style-src {_hash(style_text)}; script-src {_hash(script_text)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _squeezed(text: str) -> str:
    """Without the indentation and line ends of our own files, which hold no comments and no texts over lines."""
    return "".join(line.strip() for line in text.splitlines())
