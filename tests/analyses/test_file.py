"""Analysis files: what is accepted, and the sentence for what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlm_ops.analyses.file.analysis import parse_analysis, read_analyses, read_analysis
from mlm_ops.errors import AnalysisError

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
    asked = {name: (request.estimator, request.df) for name, request in analysis.requests.items()}
    assert asked == {"slopes": ("ml", "satterthwaite"), "empty": ("reml", "satterthwaite")}


def test_pairs() -> None:
    analysis = parse_analysis(GOOD.replace("null", "a").replace("[a, slopes]", "[[a, slopes]]"))
    assert analysis.compare == (("slopes", "a"),)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("data:", "date:"), "the key 'data' is missing"),
        (
            ("levels: school", "level: school"),
            "unknown key 'level' (did you mean 'levels'?); expected one of analysis, data, form, levels, models",
        ),
        (
            ("estimator: ml", "estimator: mle"),
            "Model 'slopes': Unknown estimator. Got 'mle'; expected one of reml, ml.",
        ),
        (
            ("estimator: ml", "method: ml"),
            "unknown key 'models.slopes.method' (REML and ML are estimator 'reml' and 'ml' here)",
        ),
        (("[null, slopes]", "[a, b]"), "compare names no model of this file: 'b'"),
        (("[null, slopes]", "[null]"), "compare needs two models or more. Got 'none' alone"),
        (("[null, slopes]", "[null, null]"), "compare sets 'none' against itself"),
        (("null: mathach ~ 1 + (1 | school)", "null:"), "models without a formula: none; write none: outcome ~"),
        (
            ("formula: mathach ~ within(ses) + (within(ses) | school)", "df: none"),
            "'models.slopes.formula' is missing",
        ),
        (("data: main.students", "data: ''"), "data: got nothing; expected a table name or one SELECT."),
        (
            ("levels: school", "levels: {a: b}"),
            "levels is not understood. Got {'a': 'b'}; expected a column, or a list of columns",
        ),
        (("[null, slopes]", "7"), "compare is a list of model names"),
        (("(1 | school)", "(1 | school"), "Model 'none': The formula does not parse"),
        (("analysis: hsb", "analysis: !!python/object:os.system hsb"), "not valid YAML"),
        (("analysis: hsb", "data: x"), "appears twice"),
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
    ("text", "sentence"), [("[1, 2]", "not a mapping"), ("a: [", "not valid YAML at line 1"), ("", "not a mapping")]
)
def test_no_mapping(text: str, sentence: str) -> None:
    with pytest.raises(AnalysisError, match=sentence):
        parse_analysis(text)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match=r"Cannot read the analysis file .*: No such file"):
        read_analysis(tmp_path / "none.yaml")


def test_no_models() -> None:
    with pytest.raises(AnalysisError, match=r"^models is empty: got none; expected at least one, as in null: y"):
        parse_analysis("{analysis: a, data: t, models: {}}")


def test_unknown_keys_are_told_once() -> None:
    with pytest.raises(AnalysisError) as caught:
        parse_analysis("{analysis: a, data: t, models: {m: y ~ x}, modles: 1, were: 2}")
    said = str(caught.value)
    assert said.startswith("unknown keys 'modles' (did you mean 'models'?), 'were' (did you mean 'where'?); expected")
    assert said.count("expected one of") == 1


def test_a_folder_of_files(tmp_path: Path) -> None:
    folder = tmp_path / "analyses"
    folder.mkdir()
    (folder / "b.yml").write_text(GOOD.replace("hsb", "b"))
    (folder / "a.yaml").write_text(GOOD)
    (folder / "notes.txt").write_text("no analysis")
    assert [analysis.analysis for analysis in read_analyses(folder)] == ["hsb", "b"]


def test_two_files_of_one_name_and_every_other_fault(tmp_path: Path) -> None:
    folder = tmp_path / "analyses"
    folder.mkdir()
    (folder / "hsb.yaml").write_text(GOOD)
    (folder / "odd.yaml").write_text("analysis: odd")
    (folder / "two.yaml").write_text(GOOD.replace("hsb", "HSB"))
    with pytest.raises(AnalysisError) as caught:
        read_analyses(folder)
    odd, same = str(caught.value).splitlines()
    assert odd == "analyses/odd.yaml: the key 'data' is missing; the key 'models' is missing."
    assert same == "analyses/hsb.yaml and analyses/two.yaml are both named 'HSB'; rename one."


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            ("levels: school", "levels: school\nestimator: ml\ndf: kenward-roger"),
            "Model 'empty': Kenward-Roger's method is for REML. Got estimator 'ml' and df 'kenward-roger'; change one "
            "of them.",
        ),
        (("1 + (1 | school)", "1 + (1 | "), "Model 'empty': The formula does not parse: expected a column"),
    ],
)
def test_a_fault_of_a_model_is_found_when_the_text_is_read(change: tuple[str, str], sentence: str) -> None:
    with pytest.raises(AnalysisError) as caught:
        parse_analysis(GOOD.replace("null", "empty").replace(*change))
    assert str(caught.value).startswith(sentence)


def test_a_copy_with_other_models_compiles_them() -> None:
    analysis = parse_analysis(GOOD.replace("null", "empty"))
    other = analysis.model_copy(update={"models": {"slopes": analysis.models["slopes"]}, "compare": ()})
    assert list(other.compiled_models) == ["slopes"]
    assert analysis.model_copy(update={"where": "ses > 0"}).requests is analysis.requests


def test_a_model_may_have_robust_errors_of_its_own() -> None:
    analysis = parse_analysis(
        "analysis: a\ndata: t\nlevels: g\nrobust: CR0\nmodels:\n  plain: y ~ x\n  own: {formula: y ~ x, robust: CR2}\n"
    )
    assert {name: request.robust for name, request in analysis.requests.items()} == {"plain": "CR0", "own": "CR2"}
