"""Drift as it is written with a run, published, and told by the asset check."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import fit_analysis
from mlm_ops.analyses.store.layout import create_results
from mlm_ops.analyses.store.run_facts import run_facts
from mlm_ops.analyses.store.runs import Run, publish, read_latest, write_run
from mlm_ops.cli.main import main
from mlm_ops.plugins.dagster.checks import no_drift

HSB = Path(__file__).parents[1] / "specification" / "reference" / "data" / "hsb.csv"
FILE = """
analysis: hsb
data: rows
levels: school
models: {m: 'mathach ~ within(ses) + (1 | school)'}
sem: {latent: 'contextual: mathach ~ ses'}
"""


@pytest.fixture(scope="module")
def connection():
    with duckdb.connect() as connection:
        connection.execute(f"create table rows as from '{HSB}'")
        for number in range(3):
            if number == 2:
                connection.execute("update rows set mathach = mathach + ses")
            analysis, now = parse_analysis(FILE), datetime.now(UTC)
            result = fit_analysis(analysis, connection)
            run = Run(
                run_id=f"r{number}",
                analysis="hsb",
                started_at=now,
                finished_at=now,
                **run_facts(analysis, result.moments),
            )
            write_run(connection, run, result.tables, analysis.history)
        yield connection


def test_each_run_is_compared_with_the_one_before_and_the_first(connection):
    rows = connection.execute("select distinct run_id, against, reference_run from mlm.drift order by all").fetchall()
    assert rows == [
        ("r1", "baseline", "r0"),
        ("r1", "previous", "r0"),
        ("r2", "baseline", "r0"),
        ("r2", "previous", "r1"),
    ]
    flagged = connection.execute("select run_id, against from mlm.drift where flagged and term = 'within(ses)'")
    assert sorted(flagged.fetchall()) == [("r2", "baseline"), ("r2", "previous")]


def test_structural_models_drift_too(connection):
    """A slope raised by one at both levels; errors as of independent runs, 0.11 sqrt(2) and 0.37 sqrt(2)."""
    query = (
        "select \"group\", difference, flagged, method from mlm.drift where model = 'latent' and run_id = 'r2'"
        " and against = 'previous' and term = 'mathach ~ ses' order by all"
    )
    between, within = connection.execute(query).fetchall()
    assert (within[0], within[2:]) == ("within", (True, "independent"))
    assert (between[0], between[3]) == ("between", "independent")
    # the slopes of ses by ses are one at both levels, so that the estimates move by one to the optimum's precision
    assert [within[1], between[1]] == pytest.approx([1.0, 1.0], abs=1e-4)


def test_the_check_warns_by_name(connection):
    found = no_drift(read_latest(connection, "drift"))
    assert not found.passed
    assert found.description == (
        "4 of 21 numbers differ from the run before or the baseline by more than chance, most clearly within(ses) of "
        "model m: 2.191 before, 3.191 now (adjusted p <0.001). All of them: mlm show --table drift."
    )
    changes = found.metadata["changes"].text
    for against in ("previous", "baseline"):
        assert (
            f"within(ses) of model m: 2.191 before, 3.191 now (adjusted p <0.001) against the {against} run" in changes
        )
    assert no_drift(read_latest(connection, "drift").clear()).description == "There is no earlier run to compare with."


def test_drift_is_published_and_the_influences_of_groups_are_not(connection, tmp_path):
    publish(connection, tmp_path / "results.duckdb")
    with duckdb.connect(str(tmp_path / "results.duckdb"), read_only=True) as published:
        assert published.execute("select count(*) > 0 from mlm.latest_drift").fetchall() == [(True,)]
        for name in ("influence", "influence_lists"):
            assert published.execute(f"select count(*) from mlm.{name}").fetchall() == [(0,)]


def test_parameters_of_groups_are_compared_group_by_group():
    text = """
analysis: groups
data: rows
levels: school
models: {m: 'mathach ~ ses + (1 | school)'}
sem:
  path: {model: "level: 1\\n mathach ~ ses\\nlevel: 2\\n mathach ~~ mathach", group: sector}
"""
    with duckdb.connect() as connection:
        connection.execute(f"create table rows as from '{HSB}'")
        for number, file in enumerate((text, text, text.replace("sector", "sector, group_equal: regressions"))):
            analysis, now = parse_analysis(file), datetime.now(UTC)
            result = fit_analysis(analysis, connection)
            facts = run_facts(analysis, result.moments)
            run = Run(run_id=f"r{number}", analysis="groups", started_at=now, finished_at=now, **facts)
            write_run(connection, run, result.tables, analysis.history)
        rows = """
            select term, before = now from mlm.drift
            where model = 'path' and against = 'previous' and run_id = ? and kind = 'sem_parameter'
        """
        found = dict(connection.execute(rows, ["r1"]).fetchall())
        assert found["mathach ~ ses in Catholic"]
        assert found["mathach ~ ses in Public"]
        assert len(found) == 10
        # of an equality there was none before
        assert len(connection.execute(rows, ["r2"]).fetchall()) == 12


def test_a_structural_model_that_is_asked_for_otherwise_is_not_compared():
    """Of other rows by the same text the parameters are others; what is fixed has no row."""
    text = """
analysis: slopes
data: rows
levels: school
models: {m: 'mathach ~ ses + (1 | school)'}
sem:
  slope: {model: "level: 1\\n mathach ~ rv(\\"s\\")*ses\\nlevel: 2\\n mathach ~~ s", missing: listwise}
"""
    with duckdb.connect() as connection:
        connection.execute(f"create table rows as from '{HSB}'")
        for number, file in enumerate((text, text, text.replace("listwise", "ml"))):
            analysis, now = parse_analysis(file), datetime.now(UTC)
            result = fit_analysis(analysis, connection)
            facts = run_facts(analysis, result.moments)
            run = Run(run_id=f"r{number}", analysis="slopes", started_at=now, finished_at=now, **facts)
            write_run(connection, run, result.tables, analysis.history)
        rows = """
            select term, note from mlm.drift
            where model = 'slope' and against = 'previous' and run_id = ? and kind <> 'sample'
        """
        terms = [term for term, _ in connection.execute(rows, ["r1"]).fetchall()]
        assert "s ~1" in terms
        assert "mathach ~ ses" not in terms
        assert connection.execute(rows, ["r2"]).fetchall() == [
            (None, "the model has changed, so its parameters are not compared; missing was listwise")
        ]


def test_influences_are_stored_a_row_a_unit_and_read_a_row_a_number(connection):
    """Five numbers of 160 schools: two coefficients, two variances and the intraclass correlation."""
    rows = 'run_id, analysis, model, "group", unit'
    assert connection.execute("select count(*) from mlm.influence_lists where run_id = 'r2'").fetchall() == [(160,)]
    names = connection.execute("select distinct symbol from mlm.latest_influence order by all").fetchall()
    assert [name for (name,) in names] == ["gamma_00", "gamma_10", "icc", "sigma2", "tau_00"]
    latest = read_latest(connection, "influence")
    assert latest.height == 800
    assert connection.execute(
        f"select count(*) from mlm.influence_lists as l join mlm.influence as i using ({rows})"
        " where l.changes[list_position(string_split(l.symbols, ', '), i.symbol)] = i.change"
    ).fetchall() == [(2400,)]


def test_influences_that_an_earlier_mlm_ops_stored_a_row_a_number_become_lists(connection):
    """The table of that name makes room for the view."""
    order = "run_id, symbol, unit"
    before = connection.execute(f"from mlm.influence order by {order}").fetchall()
    lists = connection.execute("from mlm.influence_lists order by rowid").fetchall()
    connection.execute("begin")
    connection.execute("create table mlm.earlier as from mlm.influence order by run_id, model, symbol, unit")
    for relation in ("view mlm.influence", "table mlm.influence_lists", "view mlm.latest_influence_lists"):
        connection.execute(f"drop {relation}")
    connection.execute("alter table mlm.earlier rename to influence")
    connection.execute("comment on table mlm.influence is 'mlm-ops: results'")
    assert read_latest(connection, "influence").height == 800
    create_results(connection)
    assert connection.execute(f"from mlm.influence order by {order}").fetchall() == before
    own = connection.execute("select * exclude (symbols, changes) from mlm.influence_lists order by all").fetchall()
    assert own == sorted(row[:5] for row in lists)
    assert len(lists) == 480
    connection.execute("rollback")


def test_a_baseline_that_is_no_run_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = FILE.replace("data: rows", f"data: {HSB.name}")
    (tmp_path / "a.yaml").write_text(f"{text}history: {{baseline: no-such-run}}\n")
    (tmp_path / HSB.name).write_bytes(HSB.read_bytes())
    sentence = (
        "analysis hsb: no finished run is the baseline 'no-such-run', so that nothing is compared with it. Name one in "
        "history.baseline: first, "
    )
    assert main(["fit", "a.yaml"]) == 0
    assert sentence in capsys.readouterr().err
    (tmp_path / "a.yaml").write_text(text)
    assert main(["fit", "a.yaml"]) == 0
    assert "no finished run" not in capsys.readouterr().err
