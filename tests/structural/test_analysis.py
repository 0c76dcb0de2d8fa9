"""Structural equation models in an analysis file: its keys, and the tables that it writes."""

from __future__ import annotations

import duckdb
import pytest

from mlm_ops import AnalysisError, DataError, sem
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import fit_analysis
from tests.structural.cases import REFERENCE, case

FILE = """
analysis: simulated
data: rows
levels: g
models:
  null: y ~ 1 + (1 | g)
sem:
  indirect: "mediation 1-1-1: x -> m -> y"
  robust:
    model: |
      level: 1
        y ~ x
      level: 2
        y ~ x
    robust: true
  slopes:
    model: "mediation 1-1-1 random: x -> m -> y"
    slopes: observed
"""


@pytest.fixture(scope="module")
def connection():
    found = duckdb.connect()
    found.execute(f"create table rows as from read_csv('{REFERENCE / 'data' / 'sim_111.csv.gz'}')")
    return found


def test_models_stand_beside_the_mixed_ones(connection):
    result = fit_analysis(parse_analysis(FILE), connection)
    parameters = result.tables["sem_parameters"]
    assert parameters["model"].unique(maintain_order=True).to_list() == ["indirect", "robust", "slopes"]
    theirs = {row["lhs"]: row["estimate"] for row in case("med_111")["parameters"] if row["op"] == ":="}
    ours = {row["lhs"]: row["estimate"] for row in parameters.iter_rows(named=True) if row["op"] == ":="}
    assert ours["indirect_between"] == pytest.approx(theirs["indb"], abs=1e-6)
    alone = sem("level: 1\n y ~ x\nlevel: 2\n y ~ x", "rows", "g", connection=connection, robust=True).parameters
    kept = parameters.filter(parameters["model"] == "robust")
    assert kept["std_error"].to_list() == pytest.approx(alone["std_error"].to_list(), nan_ok=True)
    assert result.tables["sem_fit"]["n_obs"].to_list() == [1811, 1811, 1811]
    labels = dict(parameters.filter(model="slopes").drop_nulls("label").select("label", "estimate").iter_rows())
    product = labels["mean_a"] * labels["mean_b"] + labels["cov_ab"]
    assert labels["indirect"] == pytest.approx(product, abs=1e-12)
    assert set(result.fits) == {"null"}


SCORED = """
analysis: simulated
data: rows
levels: g
models:
  null: y ~ 1 + (1 | g)
sem:
  factor: "cfa: f =~ x + m + y"
"""


def test_scores_and_steps_of_invariance_are_tables(connection):
    tables = fit_analysis(parse_analysis(SCORED), connection).tables
    alone = sem("cfa: f =~ x + m + y", "rows", "g", connection=connection)
    assert tables["sem_scores"].drop("model").equals(alone.scores)
    assert tables["sem_scores"]["model"].unique().to_list() == ["factor"]
    assert tables["sem_invariance"].drop("model").equals(alone.invariance)
    hidden = fit_analysis(parse_analysis(SCORED + "min_publish_n: 3\n"), connection).tables
    assert hidden["sem_scores"].is_empty()
    assert hidden["sem_invariance"].equals(tables["sem_invariance"])


def test_score_tests_are_a_table_where_they_are_asked_for(connection):
    assert "sem_score_tests" not in fit_analysis(parse_analysis(SCORED), connection).tables
    line = "mediation 1-1-1: x -> m -> y"
    model = f'{{model: "{line}", score_tests: true}}'
    text = SCORED.replace('"cfa: f =~ x + m + y"', model)
    tables = fit_analysis(parse_analysis(text), connection).tables
    alone = sem(line, "rows", "g", connection=connection)
    assert tables["sem_score_tests"].drop("model").equals(alone.score_tests)
    hidden = fit_analysis(parse_analysis(text + "\nmin_publish_n: 3\n"), connection).tables
    assert hidden["sem_score_tests"].equals(tables["sem_score_tests"])
    few = fit_analysis(parse_analysis(text + "\nmin_publish_n: 100000\n"), connection).tables
    assert few["sem_score_tests"].is_empty()


GROUPED = """
analysis: simulated
data: (select *, g % 2 as half from rows)
levels: g
models:
  null: y ~ 1 + (1 | g)
sem:
  factor:
    model: "cfa: f =~ x + m + y"
    group: half
    group_equal: loadings
    group_partial: [f=~y]
    score_tests: true
"""


def test_groups_stand_in_the_tables_and_small_ones_hide_the_model(connection):
    found = fit_analysis(parse_analysis(GROUPED), connection).tables
    alone = sem(
        "cfa: f =~ x + m + y",
        "select *, g % 2 as half from rows",
        "g",
        connection=connection,
        group="half",
        group_equal="loadings",
        group_partial="f=~y",
    )
    assert found["sem_parameters"].drop("model").equals(alone.parameters)
    assert found["sem_parameters"]["population"].unique(maintain_order=True).to_list() == ["0", "1"]
    assert found["sem_score_tests"].drop("model").equals(alone.score_tests)
    assert found["sem_score_tests"].filter(restriction="equal in all groups")["population"].to_list() == ["1", "1"]
    row = found["sem_fit"].row(0, named=True)
    assert (row["grouped_by"], row["group_equal"], row["n_populations"]) == ("half", "loadings, but f=~y", 2)
    least = alone.populations["n_obs"].min()
    for rows, is_hidden in ((least, False), (least + 1, True)):
        tables = fit_analysis(parse_analysis(f"{GROUPED}min_publish_n: {rows}\n"), connection).tables
        names = ("sem_parameters", "sem_fit", "sem_variables", "sem_score_tests")
        assert all(tables[name].is_empty() is is_hidden for name in names)


BAD = [
    (GROUPED.replace("group: half", "robust: true"), "Model 'factor' of sem: group_equal needs groups of rows."),
    (GROUPED.replace("equal: loadings", "equal: loading"), "group_equal is not understood. Got 'loading'"),
    (FILE.replace("robust: true", "score_tests: 4"), "score_tests"),
    (FILE.replace("levels: g", "levels: [g, h]"), "Model 'indirect' of sem has no clusters. Got 2 levels"),
    (FILE.replace("y ~ x\n      level", "y ~ ~ x\n      level"), "Model 'robust' of sem: The model does not parse"),
    (FILE.replace("mediation 1-1-1", "mediation 9"), "A mediation model is 'mediation 1-1-1: x -> m -> y'"),
    (FILE.replace("robust: true", "robusst: true"), "robusst"),
    (FILE.replace("y ~ x\n      level", 'y ~ rv("s")*x\n      level'), "The random slope 's' of y on x is named at"),
    (FILE.replace("slopes: observed", "slopes: manifest"), "Unknown slopes. Got 'manifest'"),
]


@pytest.mark.parametrize(("text", "sentence"), BAD)
def test_bad_files_are_refused_in_a_sentence(text, sentence):
    with pytest.raises(AnalysisError) as caught:
        _ = parse_analysis(text).models_to_scan
    assert sentence in str(caught.value)


def test_an_error_about_a_column_names_the_model(connection):
    text = FILE.replace("mediation 1-1-1: x -> m -> y", "mediation 2-1-1: x -> m -> y")
    with pytest.raises(DataError) as caught:
        fit_analysis(parse_analysis(text), connection)
    assert "analysis simulated, model indirect of sem: 'x' is at level 2 only, but varies" in str(caught.value)


def test_an_mplus_input_is_its_model_and_options():
    mplus = """
    mplus: |
      VARIABLE: NAMES = g x m y;  CLUSTER = g;  WITHIN = x;
      ANALYSIS: TYPE = TWOLEVEL RANDOM;
      MODEL:
        %WITHIN%
        a | m ON x;
        y ON m x;
        %BETWEEN%
        m WITH a;
    slopes: latent
"""
    spec = parse_analysis(FILE + "  of_mplus:" + mplus).sem["of_mplus"]
    assert spec.model == 'level: 1\n  m ~ rv("a")*x\n  y ~ m + x\nlevel: 2\n  m ~~ a\n  y ~~ y'
    assert (spec.cluster, spec.robust, spec.slopes, spec.missing) == ("g", True, "latent", "listwise")
