"""Analysis files: what is accepted, and the sentence for what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlm_ops.errors import AnalysisError
from mlm_ops.language.analysis import parse_analysis, read_analysis

GOOD = """
analysis: hsb
data: main.students
levels: school
models:
  null: mathach ~ 1 + (1 | school)
  slopes:
    formula: mathach ~ within(ses) + (within(ses) | school)
    estimator: ml
compare: [null, slopes]
"""


def test_a_file() -> None:
    analysis = parse_analysis(GOOD.replace("null", "empty"))
    assert analysis.levels == ("school",)
    assert analysis.compare == (("slopes", "empty"),)
    assert analysis.options("slopes") == ("ml", "satterthwaite")
    assert analysis.options("empty") == ("reml", "satterthwaite")


def test_pairs() -> None:
    analysis = parse_analysis(GOOD.replace("null", "a").replace("[a, slopes]", "[[a, slopes]]"))
    assert analysis.compare == (("slopes", "a"),)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("data:", "date:"), "the key 'data' is missing"),
        (("levels: school", "level: school"), "unknown key 'level'; expected one of analysis, data, levels, models"),
        (("estimator: ml", "estimator: mle"), "estimator"),
        (("estimator: ml", "method: ml"), "unknown key 'models.slopes.method'; expected one of formula, estimator, df"),
        (("[null, slopes]", "[a, b]"), "compare names no model of this file: 'b'"),
        (("[null, slopes]", "7"), "compare is a list of model names"),
        (("(1 | school)", "(1 | school"), "Model 'none': The formula does not parse"),
        (("analysis: hsb", "analysis: !!python/object:os.system hsb"), "no valid YAML"),
        (("analysis: hsb", "data: x"), "stands twice"),
    ],
)
def test_faults(tmp_path: Path, change: tuple[str, str], sentence: str) -> None:
    path = tmp_path / "analysis.yaml"
    path.write_text(GOOD.replace(*change).replace("null", "none"))
    with pytest.raises(AnalysisError) as caught:
        read_analysis(path)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("text", "sentence"), [("[1, 2]", "no mapping"), ("a: [", "no valid YAML at line 1"), ("", "no mapping")]
)
def test_no_mapping(text: str, sentence: str) -> None:
    with pytest.raises(AnalysisError, match=sentence):
        parse_analysis(text)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match=r"Cannot read the analysis file .*: No such file"):
        read_analysis(tmp_path / "none.yaml")
