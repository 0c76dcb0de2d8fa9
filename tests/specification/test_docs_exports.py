"""The way from a warehouse to a fit is as docs/exports.md begins with it."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import duckdb
import numpy as np

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import fit_analysis
from mlm_ops.warehouse.sql import render

ROOT = Path(__file__).parents[2]
SECTION = re.findall(
    r"# Moments out of a warehouse\n(.*?)\n## ", (ROOT / "docs" / "exports.md").read_text(), re.DOTALL
)[0]
MODEL, ANALYSIS = (textwrap.dedent(block) for block in re.findall(r"(?:^    .*\n)+", SECTION, re.MULTILINE))
#: What the model says, as the macro takes it.
CALL = {"columns": ["mathach", "ses"], "group": "school", "constants": ["sector"]}


def test_the_model_is_one_that_spark_builds() -> None:
    assert (ROOT / "tests" / "hosts" / "spark" / "project" / "models" / "school_moments.sql").read_text() == MODEL
    assert MODEL == ("{{ mlm.group_moments(ref('students'), ['mathach', 'ses'], 'school', constants=['sector']) }}\n")


def test_the_analysis_is_that_of_the_rows(tmp_path: Path) -> None:
    analysis = parse_analysis(ANALYSIS)
    folder = tmp_path / "school_moments"
    folder.mkdir()
    with duckdb.connect(tmp_path / "schools.duckdb") as connection:
        connection.execute(f"create table students as from '{ROOT / 'pipelines' / 'data' / 'hsb.csv'}'")
        sql = render("group_moments", relation="students", **CALL)
        connection.execute(f"copy ({sql}) to '{folder / 'part_0.parquet'}'")
        rows = connection.sql("from students").pl()
        connection.execute(f"create table school_moments as from '{folder}/*.parquet'")
        found = fit_analysis(analysis, connection).fits["slopes"]
    (formula,) = (model.formula for model in analysis.models.values())
    expected = mlm.fit(formula, rows)
    from_file = mlm.fit(formula, mlm.read_moments(str(folder / "part_0.parquet"), "school"))
    for fit in (found, from_file):
        np.testing.assert_allclose(fit.fixed_effects["estimate"], expected.fixed_effects["estimate"], rtol=1e-9)
