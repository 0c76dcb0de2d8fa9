"""What stands at the head of a page: the clear effects of one named model first, null ones in one sentence at most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlm_ops.analyses.store.latest import read_latest_results
from mlm_ops.reports.page.answers import MOST, answers
from mlm_ops.reports.page.checks import checks
from mlm_ops.reports.page.content import page_of
from mlm_ops.reports.page.sections import main_model
from mlm_ops.reports.pictures import PICTURES
from mlm_ops.reports.pictures.rows import Selection
from tests.reports.stores import Store, write_store

#: One strong effect in the midst of seven that are nothing, with names that need backticks.
FILE = """
analysis: employees
data: main.students
levels: Team
models:
  empty: "`job satisfaction` ~ 1 + (1 | Team)"
  full: >-
    `job satisfaction` ~ within(a1) + between(a1) + within(tenure) + between(tenure) + b1 + b2 + b3 + `Leader style`
    + (1 | Team)
compare: [empty, full]
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("employees")
    rng = np.random.default_rng(2)
    team = np.repeat(np.arange(60), 7)
    n = len(team)
    columns: dict[str, Any] = {name: rng.normal(size=n) for name in ("a1", "tenure", "b1", "b2", "b3")}
    columns["Leader style"] = np.where(rng.random(n) < 0.5, "direct", "remote")
    noise = rng.normal(size=60)[team] + rng.normal(size=n)
    tenure = columns["tenure"] - np.array([columns["tenure"][team == one].mean() for one in team])
    rows = {"Team": [f"T-{one:02}" for one in team], **columns, "job satisfaction": 60 + 0.6 * tenure + noise}
    pl.DataFrame(rows).write_csv(folder / "rows.csv")
    return write_store(folder, folder / "rows.csv", FILE)


@pytest.fixture(scope="module")
def tables(store: Store) -> dict[str, pl.DataFrame]:
    return read_latest_results(store.path)


def effects(tables: dict[str, pl.DataFrame], model: str) -> dict[str, dict[str, Any]]:
    return {row["term"]: row for row in tables["fixed_effects"].filter(model=model).to_dicts()}


def test_the_clear_effect_is_told_and_the_null_ones_are_one_sentence(tables: dict[str, pl.DataFrame]) -> None:
    sentences = answers(tables, main_model(tables))
    rows = effects(tables, "full")
    clear = {term for term, row in rows.items() if row["p_value"] < 0.05} - {"(Intercept)"}
    assert clear == {"within(tenure)"}
    assert sentences[2].startswith(
        f"In “full”, rows of one Team that differ by 1 in tenure differ by {rows['within(tenure)']['estimate']:.3f} in "
        "“job satisfaction” (95% interval "
    )
    assert sentences[3] == (
        "In “full”, 6 coefficients are not distinguishable from zero: within(a1), between(a1), b1, b2, b3 and 1 more."
    )
    assert len(sentences) == 4


def test_of_effects_the_strongest_comes_first_and_none_that_is_clear_is_left_out(
    tables: dict[str, pl.DataFrame],
) -> None:
    """All terms clear, with t from 3 to 12: those without a sentence are named in the last one."""
    frame = tables["fixed_effects"]
    terms = [term for term in effects(tables, "full") if term != "(Intercept)"]
    sizes = {term: 3.0 + place for place, term in enumerate(terms)}
    t = pl.col("term").replace_strict(sizes, default=100.0, return_dtype=pl.Float64)
    strong = frame.with_columns(
        estimate=t * pl.col("std_error"), p_value=10.0**-t, conf_low=pl.lit(0.1), conf_high=pl.lit(0.9)
    )
    changed = tables | {"fixed_effects": strong, "contextual_effects": tables["contextual_effects"].clear()}
    sentences = answers(changed, "full")
    assert len(sentences) == MOST
    names = ["“Leader style”[remote]", "b3", "b2", "b1", "of tenure", "in tenure", "of a1", "in a1"]
    for sentence, name in zip(sentences[2:7], names, strict=False):
        assert name in sentence, sentence
    assert sentences[7] == (
        "In “full”, 3 further coefficients differ from zero (p < 0.05): within(tenure), between(a1) and within(a1)."
    )


def test_every_sentence_of_a_coefficient_is_of_the_model_that_it_names(hsb: Store) -> None:
    tables = read_latest_results(hsb.path)
    for model in ("within_between", "random_slope", "means_as_outcomes", "regression"):
        of_effects = answers(tables, model)[2:-2]
        assert of_effects
        assert all(sentence.startswith(f"In “{model}”, ") for sentence in of_effects), model


def test_a_model_without_an_empty_one_has_the_share_by_analysis_of_variance(tables: dict[str, pl.DataFrame]) -> None:
    without = {name: frame if name != "icc" else frame.clear() for name, frame in tables.items()}
    share = tables["decomposition"].filter(variable="`job satisfaction`")["icc"][0]
    assert answers(without, "full")[0] == (
        f"By analysis of variance, {100 * share:.0f}% of the variance of “job satisfaction” lies between Teams."
    )


def test_no_backtick_stands_in_what_is_read(tables: dict[str, pl.DataFrame], store: Store) -> None:
    """Formulas, numbers of the tables and their SQL have them."""
    for draft in PICTURES.values():
        for picture in draft(store.tables, Selection()):
            assert "`" not in picture.question + picture.answer + picture.reading, picture.key
            assert "`" not in picture.svg(), picture.key
    html = page_of(tables).html
    head = html.partition('id="short"')[2].partition("</section>")[0]
    assert "`" not in head
    assert "`" not in html.partition("<math")[2].partition("</math>")[0]
    assert "<td>`" not in html.partition("The models beside each other")[2].partition("</table>")[0]


def test_units_have_the_words_of_their_field(tables: dict[str, pl.DataFrame]) -> None:
    html = page_of(tables).html
    assert ">Find a Team in the pictures</label>" in html
    assert ">The Teams</h2>" in html
    assert "Each of 60 Teams holds 7 rows." in html
    assert "units of Team" not in html


@dataclass(frozen=True)
class Finding:
    """One row of table ``diagnostics``."""

    diagnostic: str
    term: str | None = None
    level: int | None = None
    group: str | None = None
    estimate: float | None = None
    p_value: float | None = None
    bound: float | None = None
    note: str | None = None
    flagged: bool = False
    model: str = "m"
    unit: str | None = None
    skewness: float | None = None
    statistic: float | None = None
    df: float | None = None


def lines(*findings: Finding) -> list[tuple[bool, bool, str]]:
    frame = pl.DataFrame([vars(one) for one in findings], infer_schema_length=None)
    return [(line.flagged, line.passed, line.text) for line in checks({"diagnostics": frame}, "m")]


def test_what_is_beyond_a_bound_and_not_flagged_has_no_tick_and_a_reason() -> None:
    in_product = "it is part of a product, so its own effect holds where the others are zero: centering changes both"
    found = lines(
        Finding("vif", "x", 1, estimate=1.2, bound=10.0),
        Finding("vif", "day:therapy", 2, estimate=430.4, bound=10.0, note=in_product),
        Finding("vif", "day", 2, estimate=2.1, bound=10.0, note=in_product),
        Finding("condition_number", level=1, estimate=2.41, bound=30.0),
        Finding("condition_number", level=2, estimate=112.7, bound=30.0),
    )
    assert found == [
        (
            *(False, False),
            "2 products and their parts looked at for collinearity: the largest variance inflation is 430, of "
            "day:therapy at level 2; of these it is not flagged, as centering their variables changes it",
        ),
        (
            *(False, False),
            "condition numbers of the predictors looked at: 2.41 at level 1 and 113 at level 2; beyond 30 they are "
            "worth a thought, and not flagged, as centering lowers them",
        ),
        (
            *(False, True),
            "1 predictor looked at for collinearity, level by level: the largest variance inflation is 1.20, of x at "
            "level 1",
        ),
    ]


def test_a_small_p_value_that_is_not_flagged_says_from_where_it_is() -> None:
    found = lines(
        Finding("normality", group="person", term="x", estimate=2.63, skewness=0.546, p_value=0.026),
        Finding("normality", group="residual", estimate=3.2, skewness=0.1, p_value=0.0004),
        Finding("normality", group="person", term="(Intercept)", estimate=3.08, skewness=0.385, p_value=0.158),
    )
    assert [(passed, text.partition("; ")[2]) for _, passed, text in found] == [
        (False, "flagged below p = 0.01"),
        (False, "flagged below p = 0.01 and more than 0.5 off"),
        (True, ""),
    ]


@pytest.mark.parametrize("same", [True, False])
def test_a_run_before_that_is_the_baseline_is_told_once(same: bool) -> None:
    drift = pl.DataFrame(
        {
            "model": ["m"] * 4,
            "against": ["previous", "previous", "baseline", "baseline"],
            "reference_run": ["r1", "r1", *(["r1"] * 2 if same else ["r0"] * 2)],
            "flagged": [True, False, True, False],
        }
    )
    texts = [line.text for line in checks({"drift": drift}, None)]
    before = "1 of 2 numbers have changed by more than chance since the run before"
    once, twice = f"{before}, which is the baseline too", [before, before.replace("run before", "baseline")]
    assert texts == ([once] if same else twice)


def test_a_page_has_a_sign_for_each_state(tables: dict[str, pl.DataFrame]) -> None:
    finding = Finding("condition_number", level=2, estimate=112.7, bound=30.0, model="full")
    frame = pl.DataFrame([vars(finding)], infer_schema_length=None)
    html = page_of(tables | {"diagnostics": frame}).html
    assert '<span class="sign" aria-hidden="true">–</span><span class="vh">Not flagged: </span>condition' in html
    assert '<span class="sign" aria-hidden="true">✓</span><span class="vh">Passed: </span>2 of 2 models' in html
