"""Equal rows give equal estimates: to 1e-12 on any number of threads, bit by bit on one."""

from __future__ import annotations

import ast
from pathlib import Path

import duckdb
import numpy as np
import pytest

import mlm_ops
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import AnalysisResult, fit_analysis
from mlm_ops.analyses.store.run_facts import run_facts
from mlm_ops.language.options import RANDOM_SEED

HSB = Path(__file__).parent / "reference" / "data" / "hsb.csv"
FILE = """
analysis: hsb
data: rows
models: {slopes: 'mathach ~ within(ses) * sector + between(ses) + (within(ses) | school)'}
"""
ESTIMATES = ("fixed_effects", "variance_components", "random_effects", "icc", "r_squared")


def fitted(threads: int, file: str = FILE) -> AnalysisResult:
    with duckdb.connect() as connection:
        connection.execute(f"set threads to {threads}")
        # copies, so that there is work for several threads
        connection.execute(f"create table rows as select t.* from '{HSB}' t, range(20)")
        return fit_analysis(parse_analysis(file), connection)


def test_estimates_agree_on_any_number_of_threads():
    first, second = fitted(4), fitted(2)
    for table in ("fixed_effects", "variance_components"):
        ours, theirs = (result.tables[table]["estimate"].to_numpy() for result in (first, second))
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, err_msg=table)


def test_one_thread_gives_equal_bits():
    first, second = fitted(1), fitted(1)
    for table in ESTIMATES:
        assert first.tables[table].equals(second.tables[table]), table


def test_a_run_says_what_it_was_made_of():
    result = fitted(1)
    facts = run_facts(parse_analysis(FILE), result.moments)
    commented = run_facts(parse_analysis(f"# a comment\n{FILE}"), result.moments)
    assert facts["analysis_hash"] == commented["analysis_hash"]
    other = run_facts(parse_analysis(f"{FILE}estimator: ml\n"), result.moments)
    assert facts["analysis_hash"] != other["analysis_hash"]
    assert parse_analysis(facts["analysis_text"]) == parse_analysis(FILE)
    assert facts["seed"] == 0
    assert facts["host_time"][-6] in "+-"
    for name in ("python", "duckdb", "numpy", "scipy"):
        assert f'"{name}": ' in facts["versions"]


@pytest.mark.parametrize("key", ["history: {keep_runs: 3}", "compare: [[slopes, slopes2]]"])
def test_the_recorded_text_reads_back(key: str):
    file = FILE.replace("models: {", "models: {slopes2: 'mathach ~ 1 + (1 | school)', ") + key
    analysis = parse_analysis(file)
    facts = run_facts(analysis, fitted(1).moments)
    assert parse_analysis(facts["analysis_text"]).history == analysis.history


SOURCES = sorted(Path(mlm_ops.__file__).parent.rglob("*.py"))


def test_the_seed_of_a_run_is_that_of_all_random_numbers():
    """No generator has a seed of its own, and no default is another one; the run's row holds it."""
    generators, defaults = 0, []
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "default_rng":
                generators += 1
                assert len(node.args) == 1, file
                names = {child.id for child in ast.walk(node.args[0]) if isinstance(child, ast.Name)}
                assert names & {"RANDOM_SEED", "seed"}, (file, ast.unparse(node))
            if isinstance(node, ast.arguments):
                pairs = [*zip(node.args[-len(node.defaults) or len(node.args) :], node.defaults, strict=True)]
                pairs += [*zip(node.kwonlyargs, node.kw_defaults, strict=True)]
                defaults += [ast.unparse(value) for name, value in pairs if value is not None and name.arg == "seed"]
    assert generators == 11
    assert {text.removeprefix("options.") for text in defaults} == {"RANDOM_SEED", "None"}
    assert run_facts(parse_analysis(FILE), None)["seed"] == RANDOM_SEED
