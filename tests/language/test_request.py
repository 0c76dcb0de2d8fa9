"""A request: which columns its scan needs, and the requests that are derived from it."""

from __future__ import annotations

import pytest

from mlm_ops.errors import MlmError
from mlm_ops.language.formula import parse_formula
from mlm_ops.language.request import Request, compile_request


@pytest.mark.parametrize(
    ("formula", "options", "cluster", "keys"),
    [
        ("y ~ x + (1 | g)", {}, (), ()),
        ("y ~ x + (1 | g)", {"robust": "CR2", "levels": ["g", "s"]}, (), ("g", "s")),
        ("y ~ x", {"robust": "CR2", "levels": ["g", "s"]}, ("s",), ("g", "s")),
        ("y ~ x", {"robust": "CR2", "levels": "s:g"}, ("s", "g"), ("g", "s")),
        ("y ~ x", {"robust": "CR2", "levels": "g", "cluster": "d : s"}, ("d", "s"), ("g", "d", "s")),
        ("y ~ x", {"levels": "g"}, (), ("g",)),
    ],
)
def test_clusters_and_keys(
    formula: str, options: dict[str, str], cluster: tuple[str, ...], keys: tuple[str, ...]
) -> None:
    request = compile_request(formula, **options)  # type: ignore[arg-type]
    assert (request.cluster, request.keys) == (cluster, keys)


def test_covariances_of_all_models_go_to_those_that_have_the_factor() -> None:
    shared = {"g": "diagonal", "s": "compound"}
    both = compile_request("y ~ x + (x | g) + (x | s)", covariance={"g": "identity"}, default_covariance=shared)
    assert [block.covariance for block in both.model.random] == ["identity", "compound"]
    assert compile_request("y ~ x + (x | g)", default_covariance=shared).model.random[0].covariance == "diagonal"


def test_derived_requests() -> None:
    request = compile_request("y ~ x + (1 | g)", robust="CR2", cluster="s", levels="g")
    other = parse_formula("y ~ z + (1 | g)")
    assert request.of(other) == Request(other, robust="CR2", cluster=("s",), levels=("g",), top_level=("g",))
    assert request.for_likelihood("ml") == Request(request.model, "ml", "none", levels=("g",), top_level=("g",))


def test_a_derived_request_is_checked_too() -> None:
    request = compile_request("y ~ x + (1 | g)", robust="CR2")
    with pytest.raises(MlmError, match=r"^Robust errors of single-level regression need clusters\. Got robust 'CR2'"):
        request.of(parse_formula("y ~ x"))
