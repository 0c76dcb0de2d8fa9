"""Expand the ready models: one line that replaces the text of a whole structural equation model."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise

from mlm_ops.errors import FormulaError
from mlm_ops.language.spelling import did_you_mean
from mlm_ops.language.tokens import COMMENT, STRUCTURAL, Token, tokenize
from mlm_ops.structural.language.invariance import RESTRICTIONS, invariance_text
from mlm_ops.structural.language.model import BETWEEN, WITHIN, SemModel
from mlm_ops.structural.language.ready_line import Covariates, ReadyLine, all_covariances, free_names
from mlm_ops.structural.language.ready_mediation import mediation_text
from mlm_ops.structural.language.syntax import parse_sem

_NAME, _LABEL = re.compile(r"[A-Za-z_][\w.]*"), re.compile(r"(?<![\w.])([A-Za-z_][\w.]*)\*")
#: The ready model that stands beside a mixed model with observed means.
CONTEXTUAL = "contextual"
#: The form of each ready model, by its name.
FORMS = {
    CONTEXTUAL: "A contextual model is 'contextual: y ~ x', or 'contextual: y ~ (f =~ x1 + x2 + x3)' of a latent "
    "variable; covariates follow |, as in | z + within(u) + between(w).",
    "mediation": "A mediation model is 'mediation 1-1-1: x -> m -> y', with a level 1 or 2 for each variable, at least "
    "one of them 1, and more mediators as m1 + m2 or 1-1-1-1: x -> m1 -> m2 -> y; or 'mediation 1-1-1 random: x -> m "
    "-> y'. A moderator follows by, covariates follow |, as in by w | z + between(u).",
    "cfa": "A factor model is 'cfa: f =~ y1 + y2 + y3', with covariates behind |, as in | z + between(w). This "
    "is the configural model; with equal loadings at both levels it is 'cfa metric: …', and without residuals between "
    "clusters 'cfa scalar: …'.",
    "growth": "A growth model is 'growth: y ~ time', with predictors of its intercept and slopes behind by, covariates "
    "behind |, as in by w | z.",
}


def read_model(text: str) -> SemModel:
    """The model of a text, or of a ready model's line.

    Raises
    ------
    FormulaError
        As `expand_ready_model` and `parse_sem`.
    """
    expanded, name = _expanded(text)
    return replace(parse_sem(expanded), ready=name)


def labelled_by_group(model: SemModel, count: int) -> SemModel:
    """A ready model with labels and definitions of each group's own: ``a.g1``, ``a.g2``."""
    labels = {item.label for item in model.items if item.label is not None}
    own = {*labels, *(definition.name for definition in model.definitions)}
    lines: list[str] = []
    for line in model.text.splitlines():
        if ":=" in line:
            lines += [_with_suffix(line, own, f".g{number}") for number in range(1, count + 1)]
        else:
            lines.append(_LABEL.sub(lambda m: _of_groups(m[1], count) if m[1] in labels else m[0], line))
    return replace(parse_sem("\n".join(lines)), ready=model.ready)


def _with_suffix(line: str, names: Collection[str], suffix: str) -> str:
    return _NAME.sub(lambda m: m[0] + suffix if m[0] in names else m[0], line)


def _of_groups(label: str, count: int) -> str:
    return f"c({', '.join(f'{label}.g{n}' for n in range(1, count + 1))})*"


def expand_ready_model(text: str) -> str:
    """Write out a line of a ready model, as ``contextual: y ~ x``; any other text stays as it is.

    Raises
    ------
    FormulaError
        A line that begins as a ready model and has not its form, or a heading that is nearly that of one.
    """
    return _expanded(text)[0]


def _expanded(text: str) -> tuple[str, str | None]:
    """The text, written out where it is a ready model's line, and that model's name; None of another text."""
    tokens = [token for token in tokenize(text, STRUCTURAL) if (token.kind, token.text) != ("newline", "\n")]
    texts = [token.text for token in tokens]
    if len(tokens) > 1 and texts[0] in FORMS and tokens[1].kind in {"name", "number"} and ":" not in texts:
        raise FormulaError(FORMS[texts[0]], text, tokens[1].position)
    if ":" not in texts:
        return text, None
    colon = texts.index(":")
    design, rest = "".join(texts[1:colon]), tokens[colon + 1 : -1]
    # the heading stands on one line
    heading = text[: tokens[colon].position].strip()
    if "\n" in heading or "".join(heading.split()) != texts[0] + design:
        return text, None
    if texts[0] not in FORMS:
        _check_spelling(text, tokens[:colon])
        return text, None
    line = ReadyLine(text, rest, FORMS[texts[0]])
    return _written_out(texts[0], design, text, tokens[colon], line), texts[0]


def _written_out(name: str, design: str, text: str, colon: Token, line: ReadyLine) -> str:
    if name == "mediation":
        return mediation_text(line, design)
    if name == "cfa" and design in ("", *RESTRICTIONS):
        return _cfa(text, colon, line, design)
    if design:
        raise line.fail()
    return _contextual(line) if name == CONTEXTUAL else _growth(line)


def _check_spelling(text: str, heading: Sequence[Token]) -> None:
    """Refuse a heading that is nearly a ready model's; a level's, or a formula with a product, is none."""
    first = heading[0].text
    meant = did_you_mean(first, FORMS) if all(t.kind in {"name", "number"} or t.text == "-" for t in heading) else ""
    if meant and first.lower() not in {"level", "group"}:
        raise FormulaError(
            f"Unknown ready model {first!r}.{meant} There are {', '.join(FORMS)}.", text, heading[0].position
        )


def _contextual(line: ReadyLine) -> str:
    outcome = line.name()
    line.expect("~")
    indicators: tuple[str, ...] = ()
    if line.at("("):
        line.advance()
        predictors = [line.name()]
        line.expect("=~")
        indicators = line.names()
        line.expect(")")
    else:
        predictors = [line.name()]
    while line.at("+"):
        line.advance()
        predictors.append(line.name())
    covariates = line.covariates()
    line.check_distinct([outcome, *predictors, *indicators, *covariates.names])
    first, *others = predictors
    # equal loadings, so that both slopes are of one unit of the factor (Marsh et al. 2009)
    loadings = [f"l{i}*{name}" if i > 1 else name for i, name in enumerate(indicators, start=1)]
    measured = f"  {first} =~ {' + '.join(loadings)}\n" if indicators else ""
    blocks = []
    for level, label in ((WITHIN, "within"), (BETWEEN, "between")):
        terms = [f"{label}*{first}", *others, *(covariates.within if level == WITHIN else covariates.between)]
        blocks.append(f"level: {level}\n{measured}  {outcome} ~ {' + '.join(terms)}\n")
    return "".join(blocks) + "contextual := between - within"


def _growth(line: ReadyLine) -> str:
    """A random intercept and slopes of time: what lies between persons is their intercept, at time 0."""
    outcome = line.name()
    line.expect("~")
    times = line.names()
    predictors: tuple[str, ...] = ()
    if (line.token.kind, line.token.text) == ("name", "by"):
        line.advance()
        predictors = line.names()
    covariates = line.covariates()
    names = [outcome, *times, *predictors, *covariates.names]
    line.check_distinct(names)
    slopes = free_names([f"slope_{time}" for time in times], names, "slope")
    terms = " + ".join(f'rv("{slope}")*{time}' for slope, time in zip(slopes, times, strict=True))
    within = f"level: 1\n  {outcome} ~ {terms}\n{covariates.line([outcome], WITHIN)}"
    predicted = Covariates(between=predictors).line([outcome, *slopes], BETWEEN)
    between = f"level: 2\n{predicted}{covariates.line([outcome], BETWEEN)}{all_covariances([outcome, *slopes])}"
    return (within + between).rstrip()


def _cfa(text: str, colon: Token, line: ReadyLine, step: str) -> str:
    """The statements at both levels, with the covariates of every factor, and what is equal across levels."""
    while line.token.kind != "end" and not line.at("|"):
        line.advance()
    block = _block(text[colon.position + 1 : line.token.position])
    if not block:
        raise line.fail()
    covariates = line.covariates()
    configural = f"level: 1\n{block}\nlevel: 2\n{block}"
    if not step and not covariates.names:
        return configural
    loadings = [item for item in parse_sem(configural).at(WITHIN) if item.op == "=~"]
    factors = list(dict.fromkeys(item.lhs for item in loadings))
    if not factors:
        raise line.fail()
    # a variable may have a path to an indicator and be a covariate as well, but is not itself an indicator
    measured = dict.fromkeys([*factors, *(item.rhs for item in loadings)])
    line.check_distinct([*measured, *covariates.names])
    within, between = (covariates.line(factors, level) for level in (WITHIN, BETWEEN))
    whole = f"level: 1\n{block}\n{within}level: 2\n{block}\n{between}".rstrip()
    return invariance_text(parse_sem(whole), step) if step else whole


def _block(rest: str) -> str:
    """Statements, each on a line of its own."""
    breaks = [token.position for token in tokenize(rest, STRUCTURAL) if token.kind in {"newline", "end"}]
    lines = (COMMENT.sub("", rest[start:end]).strip() for start, end in pairwise([0, *breaks]))
    return "\n".join(f"  {line.removeprefix(';').strip()}" for line in lines if line.strip(";"))
