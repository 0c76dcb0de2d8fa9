"""Models of one line, written out in lavaan's syntax.

``contextual: y ~ x``
    The contextual effect of latent cluster means (Lüdtke et al. 2008): ctx = between - within.
``mediation 1-1-1: x -> m -> y`` (also ``2-1-1``, ``2-2-1``)
    Indirect effects within and between (Preacher, Zyphur and Zhang 2010).
``cfa: f =~ y1 + y2 + y3``
    The same factors at both levels.
"""

from __future__ import annotations

import re

from mlm_ops.errors import FormulaError
from mlm_ops.language.tokens import COMMENT

_HEAD = re.compile(r"\s*(?P<kind>contextual|mediation|cfa)(?:\s+(?P<design>[\w-]+))?\s*:(?!=)")
_NAME = r"[^\W\d][\w.]*"
_MEDIATION = {
    "1-1-1": (
        "level: 1\n  {m} ~ aw*{x}\n  {y} ~ bw*{m} + cw*{x}\n"
        "level: 2\n  {m} ~ ab*{x}\n  {y} ~ bb*{m} + cb*{x}\n"
        "indirect_within := aw*bw\nindirect_between := ab*bb\n"
        "total_within := aw*bw + cw\ntotal_between := ab*bb + cb"
    ),
    "2-1-1": (
        "level: 1\n  {y} ~ bw*{m}\nlevel: 2\n  {m} ~ ab*{x}\n  {y} ~ bb*{m} + cb*{x}\n"
        "indirect_between := ab*bb\ntotal_between := ab*bb + cb"
    ),
    "2-2-1": (
        "level: 1\n  {y} ~~ {y}\nlevel: 2\n  {m} ~ ab*{x}\n  {y} ~ bb*{m} + cb*{x}\n"
        "indirect_between := ab*bb\ntotal_between := ab*bb + cb"
    ),
}


def written_out(text: str) -> str:
    """The model that a line stands for; any other text as it is.

    Raises
    ------
    FormulaError
        A line of a ready model that is none.
    """
    found = _HEAD.match(text)
    rest = COMMENT.sub("", text[found.end() :]).strip() if found is not None else ""
    if found is None or not rest:
        return text
    design = found["design"]
    if found["kind"] == "contextual":
        return _contextual(text, rest)
    return _mediation(text, rest, design) if found["kind"] == "mediation" else _cfa(rest)


def _contextual(text: str, rest: str) -> str:
    outcome, tilde, right = (part.strip() for part in rest.partition("~"))
    predictors = [name.strip() for name in right.split("+")]
    if not tilde or not all(re.fullmatch(_NAME, name) for name in (outcome, *predictors)):
        raise FormulaError("A contextual model is 'contextual: outcome ~ predictor + predictor'.", text.strip(), 0)
    first, *others = predictors
    rest = "".join(f" + {name}" for name in others)
    return (
        f"level: 1\n  {outcome} ~ within*{first}{rest}\nlevel: 2\n  {outcome} ~ between*{first}{rest}\n"
        "contextual := between - within"
    )


def _mediation(text: str, rest: str, design: str | None) -> str:
    path = [name.strip() for name in rest.split("->")]
    if design not in _MEDIATION or len(path) != 3 or not all(re.fullmatch(_NAME, name) for name in path):
        raise FormulaError(
            f"A mediation model is 'mediation 1-1-1: x -> m -> y', with design {', '.join(_MEDIATION)}.",
            text.strip(),
            0,
        )
    return _MEDIATION[design].format(x=path[0], m=path[1], y=path[2])


def _cfa(rest: str) -> str:
    block = "\n".join(f"  {line.strip()}" for line in re.split(r"[;\n]", rest) if line.strip())
    return f"level: 1\n{block}\nlevel: 2\n{block}"
