"""Ready lines of mediation are the texts that they stand for, and have lavaan's numbers."""

from __future__ import annotations

import pytest

import mlm_ops as mlm
from mlm_ops.structural.model import expand_ready_model
from mlm_ops.structural.syntax import parse_sem
from tests.structural.cases import data

PATHS = "level: 2\n {m} ~ ab*{x}\n {y} ~ bb*{m} + cb*{x}\nindirect_between := ab*bb\ntotal_between := ab*bb + cb"
#: By design: x, m and y of Demo.twolevel, level 1 as it is written out, and lavaan 0.6-14's logLik, indirect effect and
#: standard error.
DESIGNS = [
    ("1-1-2", ("y1", "y2", "w1"), "level: 1\n y2 ~ aw*y1\n", -8886.110140, 0.1753753, 0.1573015),
    ("1-2-1", ("y1", "w1", "y2"), "level: 1\n y2 ~ cw*y1\n", -8886.110140, 0.0070947, 0.0069029),
    ("2-1-2", ("w1", "y1", "w2"), "level: 1\n y1 ~~ y1\n", -5139.763340, 0.0192598, 0.0161007),
]


@pytest.mark.parametrize(("design", "path", "within", "log_likelihood", "estimate", "std_error"), DESIGNS)
def test_mediation_by_variables_of_level_2(
    design: str, path: tuple[str, str, str], within: str, log_likelihood: float, estimate: float, std_error: float
) -> None:
    line = f"mediation {design}: {' -> '.join(path)}"
    x, m, y = path
    assert parse_sem(expand_ready_model(line)) == parse_sem(within + PATHS.format(x=x, m=m, y=y))
    found = mlm.sem(line, data("demo_twolevel"), cluster="cluster")
    assert found.estimate.log_likelihood == pytest.approx(log_likelihood, abs=2e-6)
    row = found.parameters.filter(lhs="indirect_between").row(0, named=True)
    # lavaan's search ends some 1e-4 of a standard error from its maximum
    assert row["estimate"] == pytest.approx(estimate, abs=1e-3 * std_error)
    assert row["std_error"] == pytest.approx(std_error, rel=1e-3)
