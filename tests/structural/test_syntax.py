"""The text of a two-level model: what it means, and the sentence for each error."""

from __future__ import annotations

import pytest

from mlm_ops import FormulaError
from mlm_ops.structural.language.parameters import parameter_table
from mlm_ops.structural.language.ready_models import expand_ready_model
from mlm_ops.structural.language.syntax import parse_sem


def rows(text):
    return [
        (r.level, r.lhs, r.op, r.rhs, None if r.index is not None else r.value)
        for r in parameter_table(parse_sem(text)).rows
    ]


TINY = "level: 1\n  y ~ x\nlevel: 2\n  y ~ w"


@pytest.mark.parametrize(
    "text",
    [
        "Level: within\n y ~ x  # a comment\nlevel: between\n y ~ w",
        "level: 1; y ~ x; level: 2; y ~ w",
        'level: "1"\n\n y ~\n   x\n\n! another\nlevel:2\n y ~ w\n',
    ],
)
def test_the_same_model_in_other_words(text):
    assert rows(text) == rows(TINY)


def test_modifiers_of_a_parameter():
    text = "level: 1\n f =~ NA*a + l*b + start(0.5)*c + -2*d\n f ~~ 1*f\nlevel: 2\n a + b ~ w\n b ~ 0*1\n c ~~ 0.5?c"
    items = {(i.lhs, i.op, i.rhs): i for i in parse_sem(text).items}
    assert items["f", "=~", "a"].freed
    assert items["f", "=~", "b"].label == "l"
    assert items["f", "=~", "c"].start == 0.5
    assert items["f", "=~", "d"].fixed == -2
    assert items["f", "~~", "f"].fixed == 1
    assert {("a", "~", "w"), ("b", "~", "w")} <= items.keys()
    assert items["b", "~1", ""].fixed == 0
    assert items["c", "~~", "c"].start == 0.5


def test_equal_labels_are_one_parameter():
    table = parameter_table(parse_sem("level: 1\n f =~ a*y1 + b*y2 + c*y3\nlevel: 2\n f =~ a*y1 + b*y2 + c*y3"))
    by_label = {(r.level, r.label): r.index for r in table.rows if r.label}
    assert by_label[1, "b"] == by_label[2, "b"] is not None
    # the first loading is fixed, and so is what bears its label
    assert by_label[1, "a"] is by_label[2, "a"] is None


def test_defaults_are_lavaans():
    """The parameter table of lavaan 0.6-14, lavaanify() with fixed.x = FALSE."""
    within = "level: 1\n f =~ y1+y2\n g =~ y3+y4\n h =~ y5\n g ~ f\n h ~ f\n z ~ f + x1 + x2\n"
    text = within + "level: 2\n z ~ y1\n y1 ~ w\n v ~ w"
    found = {(level, lhs, op, rhs): value for level, lhs, op, rhs, value in rows(text)}
    free = {key for key, value in found.items() if value is None}
    assert found[1, "f", "=~", "y1"] == found[1, "h", "=~", "y5"] == 1
    assert found[1, "y5", "~~", "y5"] == 0
    assert {(1, "g", "~~", "h"), (1, "g", "~~", "z"), (1, "h", "~~", "z"), (1, "x1", "~~", "x2")} <= free
    assert {(2, "z", "~~", "v"), (2, "w", "~~", "w"), (2, "y1", "~1", ""), (1, "y2", "~1", "")} <= free
    assert found[1, "y1", "~1", ""] == found[1, "z", "~1", ""] == found[1, "f", "~1", ""] == 0
    assert not {(1, "f", "~~", "x1"), (2, "y1", "~~", "v"), (1, "z", "~~", "x1")} & found.keys()


def test_ready_models():
    def names(line):
        return [d.name for d in parse_sem(expand_ready_model(line)).definitions]

    assert names("contextual: y ~ x + z") == ["contextual"]
    assert names("mediation 2-2-1: x -> m -> y") == ["indirect_between", "total_between"]
    assert len(names("mediation 1-1-1: x -> m -> y")) == 4
    assert expand_ready_model("cfa: f =~ a + b + c") == "level: 1\n  f =~ a + b + c\nlevel: 2\n  f =~ a + b + c"
    assert expand_ready_model(TINY) == TINY


BAD = [
    ("y ~ x", "says of each statement at which level", "y ~ x"),
    ("level: 1\n y ~ x", "'level: 2' is missing or empty", None),
    ("level: 3\n y ~ x", "Unknown level. Got '3'; expected 1 (or within)", "level: 3"),
    ("level: 1\n y ~ x +* z\nlevel: 2\n y ~ w", "expected a variable but found '*'", " y ~ x +* z"),
    ("level: 1\n y x\nlevel: 2\n y ~ w", "expected one of =~ ~ ~~ :=", " y x"),
    ("level: 1\n y ~ x z\nlevel: 2\n y ~ w", "'z' is out of place", " y ~ x z"),
    ("level: 1\n y ~ y\nlevel: 2\n y ~ w", "'y' cannot be its own predictor", " y ~ y"),
    ("level: 1\n y ~ f(x)\nlevel: 2\n y ~ w", "Unknown modifier f()", " y ~ f(x)"),
    (
        "level: 1\n y ~ c(a,b)*x + c(a,b,d)*z\nlevel: 2\n y ~ w",
        "c() takes a value for each group. Got 3 here and 2",
        None,
    ),
    ("level: 1\n y ~ c(a,*x\nlevel: 2\n y ~ w", "c() takes a value for each group, as in c(a1, a2). Got 'x'.", None),
    ("level: 1\n y ~ c(a,b)*d*x\nlevel: 2\n y ~ w", "y ~ x has two labels. Got d and a; keep one.", None),
    ("level: 1\n y ~ c(1,2)*start(c(1,2))*x\nlevel: 2\n y ~ w", "y ~ x is fixed to 1 and given the starting", None),
    ("level: 1\n y ~ c(a,b)*c(d,b)*x\nlevel: 2\n y ~ w", "two different modifiers. Got a and d; keep one.", None),
    ("level: 1\n y ~ x:z\nlevel: 2\n y ~ w", "Products of variables are not offered", " y ~ x:z"),
    ("level: 1\n y ~ 1*2*x\nlevel: 2\n y ~ w", "two different modifiers. Got 1.0 and 2.0", None),
    ("level: 1\n y ~ x @ z\nlevel: 2\n y ~ w", "unexpected character '@'", None),
    ("group: 1\n y ~ x", "Groups have one text, without blocks of their own. Give the column", None),
    ("level: 1\n y ~~ -1*y\nlevel: 2\n y ~ w", "A variance is zero or positive. Got -1 for", None),
    (
        "level: 1\n y ~ a*x\nlevel: 2\n y ~ b*w\nd := a - bb",
        "The definition of 'd' names 'bb', which is no label of the model. Did you mean 'b'?",
        "d := a - bb",
    ),
    ("level: 1\n y ~ a*x\nlevel: 2\n y ~ w\nd := sin(a)", "A definition is made of labels, numbers", None),
    ("level: 1\n y ~ a*x\nlevel: 2\n y ~ w\na := 2", "is a label of the model and defined by := too", None),
    (
        "level: 1\n f =~ a*y1 + 1*y1 + y2\nlevel: 2\n g =~ 2*y1 + y2\n g =~ a*y1",
        "The label 'a' has two different fixed values. Got 1 and 2",
        None,
    ),
    ("level: 1\n y ~ 1*x\n y ~ 2*x\nlevel: 2\n y ~ w", "is fixed to two different values. Got 1 and 2", None),
    ("level: 1\n f =~ y1 + y2\nlevel: 2\n y1 ~ f", "'f' is latent at one level and not at the other", None),
]


@pytest.mark.parametrize(("text", "sentence", "line"), BAD)
def test_bad_texts_are_refused_in_a_sentence(text, sentence, line):
    with pytest.raises(FormulaError) as caught:
        parameter_table(parse_sem(text))
    told = str(caught.value)
    assert sentence in told
    if line is not None:
        shown = told.split("\n")
        assert shown[1] == f"  {line}"
        assert shown[2].strip() == "^"


@pytest.mark.parametrize("line", ["mediation 3-1-1: x -> m -> y", "mediation: x -> y", "contextual: y"])
def test_bad_ready_lines_are_refused_in_a_sentence(line):
    with pytest.raises(FormulaError, match=r"is '(mediation|contextual)"):
        expand_ready_model(line)
