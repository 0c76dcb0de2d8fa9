"""What `mlm init` guesses of unknown files: a few dozen rows of data sets of R's and Python's packages."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import fit_analysis
from mlm_ops.analyses.starter.analysis_file import analysis_text, formulas
from mlm_ops.analyses.starter.guess import Guess, guess
from mlm_ops.warehouse.source import Source, open_source

FOLDER = Path(__file__).parent / "first_looks"
#: By file: the columns that a methodologist may take as the lowest groups, as the outcome, and the time of growth; and
#: those that only tell rows or units apart.
ANSWERS = {
    "MASS_epil": ("subject", "y", "period", ""),
    "MASS_nlschools": ("class", "lang", None, ""),
    "carData_Blackmore": ("subject", "exercise", "age", ""),
    "causaldata_gapminder": ("country", "lifeExp gdpPercap", "year", ""),
    "datasets_ChickWeight": ("Chick", "weight", "Time", ""),
    "datasets_Theoph": ("Subject", "conc", "Time", ""),
    "geepack_dietox": ("Pig", "Weight", "Time", "Litter"),
    "linearmodels_munnell": ("STATE ST_ABB", "GSP", "YR", "ST_ABB"),
    "linearmodels_wage_panel": ("nr", "lwage", "year", "occupation"),
    "lme4_Arabidopsis": ("gen popu", "total.fruits", None, "popu"),
    "lme4_InstEval": ("s d", "y", None, "dept"),
    "lme4_Pastes": ("sample", "strength", None, "batch"),
    "lme4_Penicillin": ("plate sample", "diameter", None, ""),
    "lme4_cake": ("replicate", "angle", None, ""),
    "lme4_cbpp": ("herd", "incidence", "period", ""),
    "lme4_grouseticks": ("BROOD LOCATION", "TICKS", None, "INDEX LOCATION"),
    "lme4_sleepstudy": ("Subject", "Reaction", "Days", ""),
    "mlmRev_Chem97": ("school", "score", None, "lea student"),
    "mlmRev_Early": ("id", "cog", "age", ""),
    "mlmRev_Exam": ("school", "normexam", None, "student"),
    "mlmRev_Gcsemv": ("school", "written course", None, "student"),
    "mlmRev_Hsb82": ("school", "mAch", None, ""),
    "mlmRev_ScotsSec": ("primary second", "attain", None, "primary"),
    "mlmRev_egsingle": ("childid", "math", "year grade", "schoolid"),
    "nlme_BodyWeight": ("Rat", "weight", "Time", ""),
    "nlme_Glucose": ("Subject", "conc", "Time", ""),
    "nlme_Machines": ("Worker", "score", None, ""),
    "nlme_MathAchieve": ("School", "MathAch", None, ""),
    "nlme_Milk": ("Cow", "protein", "Time", ""),
    "nlme_Oats": ("Block", "yield", None, ""),
    "nlme_Orthodont": ("Subject", "distance", "age", ""),
    "nlme_Ovary": ("Mare", "follicles", "Time", ""),
    "nlme_Oxboys": ("Subject", "height", "age Occasion", ""),
    "nlme_Pixel": ("Dog", "pixel", "day", ""),
    "nlme_RatPupWeight": ("Litter", "weight", None, ""),
    "nlme_ergoStool": ("Subject", "effort", None, ""),
    "ordinal_wine": ("judge", "response rating", None, "bottle"),
    "plm_EmplUK": ("firm", "emp wage output", "year", "sector"),
    "sandwich_PetersenCL": ("firm", "y", "year", ""),
    "statsmodels_grunfeld": ("firm", "invest", "year", ""),
}
#: Files that were not looked at when the rules were made.
FURTHER = {
    "AER_TeachingRatings": ("prof", "eval", None, ""),
    "HLMdiag_autism": ("childid", "vsae", "age2", ""),
    "HLMdiag_radon": ("county county.name", "log.radon", None, "county"),
    "MASS_Sitka": ("tree", "size", "Time", ""),
    "lattice_barley": ("site variety", "yield", "year", ""),
    "nlme_Wafer": ("Wafer", "current", None, ""),
    "openintro_evals": ("prof_id", "score", None, "course_id"),
    "plm_Cigar": ("state", "sales", "year", ""),
    "plm_RiceFarms": ("id", "goutput noutput", None, ""),
    "survival_pbcseq": ("id", "bili", "day", ""),
}


def variables(roles: Guess) -> set[str]:
    return {*roles.varying, *roles.constant, *roles.factors, roles.outcome}


@pytest.fixture(scope="module")
def sources() -> dict[str, Source]:
    return {name: open_source(FOLDER / f"{name}.csv") for name in ANSWERS | FURTHER}


@pytest.fixture(scope="module")
def looks(sources: dict[str, Source]) -> dict[str, Guess]:
    return {name: guess(source) for name, source in sources.items()}


def right(looks: dict[str, Guess], answers: dict[str, tuple[str, str, str | None, str]]) -> tuple[int, int]:
    """Numbers of files with the right groups, and with the right outcome or one that is asked for."""
    groups = sum(looks[name].levels[0] in group.split() for name, (group, *_) in answers.items())
    outcomes = sum(
        looks[name].outcome in outcome.split() or bool(set(outcome.split()) & set(looks[name].other_outcomes))
        for name, (_, outcome, *_) in answers.items()
    )
    return groups, outcomes


def test_groups_and_outcomes_are_those_of_a_person(looks: dict[str, Guess]) -> None:
    assert right(looks, ANSWERS) == (40, 40)
    assert right(looks, FURTHER) == (10, 10)


@pytest.mark.parametrize("name", ANSWERS | FURTHER)
def test_identifiers_are_no_variables_and_times_are_times(looks: dict[str, Guess], name: str) -> None:
    _, _, time, identifiers = (ANSWERS | FURTHER)[name]
    assert variables(looks[name]).isdisjoint(identifiers.split())
    assert looks[name].time in (time.split() if time is not None else [None])


def test_every_column_has_a_role_or_a_reason(looks: dict[str, Guess], sources: dict[str, Source]) -> None:
    for name, roles in looks.items():
        left_out = {column for _, names in roles.left_out for column in names} | {c for c, _ in roles.redundant}
        has_role = variables(roles) | {*roles.levels, roles.crossed, roles.time} - {None}
        assert left_out | has_role == set(sources[name].types)
        assert left_out.isdisjoint(variables(roles))


@pytest.mark.parametrize("name", FURTHER)
def test_further_files_are_fitted(looks: dict[str, Guess], name: str) -> None:
    """The analysis file as it is written, on these rows."""
    with duckdb.connect() as connection:
        connection.execute(f"create table look as from read_csv('{FOLDER / name}.csv', nullstr = ['', 'NA'])")
        result = fit_analysis(parse_analysis(analysis_text("look", "main.look", looks[name])), connection)
    assert all(result.tables["fit_statistics"]["converged"])


def test_first_models_are_what_a_person_writes(looks: dict[str, Guess]) -> None:
    models = {name: list(formulas(looks[name]).items())[-1] for name in looks}
    assert models["lme4_sleepstudy"] == ("growth", "Reaction ~ Days + (1 | Subject)")
    assert models["mlmRev_Hsb82"] == (
        "contextual",
        "mAch ~ within(ses) + between(ses) + minrty + sx + sector + (1 | school)",
    )
    assert models["lme4_Penicillin"] == ("empty", "diameter ~ 1 + (1 | plate) + (1 | sample)")
    assert [name for name, roles in looks.items() if roles.crossed is not None] == ["lme4_Penicillin"]
    assert models["nlme_Machines"] == ("predictors", "score ~ Machine + (1 | Worker)")
    assert models["lme4_Pastes"] == ("predictors", "strength ~ cask + (1 | sample) + (1 | batch)")
    assert models["statsmodels_grunfeld"] == (
        "growth",
        "invest ~ center(year) + within(capital) + between(capital) + within(value) + between(value) + (1 | firm)",
    )


DATA = Path(__file__).parents[1] / "specification" / "reference" / "data"


def test_lecturers_are_crossed_with_the_students_who_rate_them() -> None:
    roles = guess(open_source(DATA / "insteval_small.csv"))
    assert (roles.levels, roles.n_groups, roles.crossed, roles.n_crossed) == (("s",), (300,), "d", 1029)
    text = analysis_text("ratings", "main.ratings", roles)
    assert "# 7,228 rows; groups: 300 of s, and across them 1,029 of d\n" in text
    assert (
        "# s and d are crossed: one s has rows of several d, and the other way round, so the models have "
        "both.\n# To leave d out, take + (1 | d) out of every formula.\nmodels:\n"
    ) in text
    lines = [line for line in text.splitlines() if "(1 | s)" in line or "| s) +" in line]
    assert len(lines) == 3
    assert all(line.endswith(' + (1 | d)"') for line in lines)
    model = parse_analysis(text.replace(" + (1 | d)", "")).compiled_models["empty"]
    assert model.groups == (("s",),)


def test_crossed_samples_and_plates_have_lme4s_variances() -> None:
    roles = guess(open_source(DATA / "penicillin.csv"))
    with duckdb.connect() as connection:
        connection.execute(f"create table rows as from '{DATA / 'penicillin.csv'}'")
        analysis = parse_analysis(analysis_text("a", "main.rows", roles))
        variances = fit_analysis(analysis, connection).tables["variance_components"].filter(model="empty")
    # lme4 1.1.31, REML, as in reference/cases/penicillin_reml.json
    by_group = dict(zip(variances["group"], variances["estimate"], strict=True))
    assert (by_group["plate"], by_group["sample"]) == pytest.approx((0.7169, 3.7309), abs=1e-4)


def crossed_rows(schools: int, begins_anew: bool, effect: float) -> pl.DataFrame:
    """Rows of schools with 20 numbers of students each, in two terms unless the numbers begin anew in each school."""
    random = np.random.default_rng(3)
    terms = 1 if begins_anew else 2
    school, student, _ = (grid.ravel() for grid in np.mgrid[:schools, :20, :terms])
    score = random.normal(size=schools)[school] + effect * random.normal(size=20)[student]
    return pl.DataFrame({"school": school, "student": student, "score": score + random.normal(size=len(school))})


@pytest.mark.parametrize(
    ("begins_anew", "effect", "crossed"), [(False, 1.0, "student"), (True, 1.0, None), (False, 0.0, None)]
)
def test_numbers_that_begin_anew_and_factors_without_effect_are_not_crossed(
    begins_anew: bool, effect: float, crossed: str | None
) -> None:
    """They stay candidates for the groups, or are left out with the reason."""
    roles = guess(open_source(crossed_rows(30, begins_anew, effect)))
    assert (roles.levels, roles.outcome, roles.crossed) == (("school",), "score", crossed)
    assert "student" not in variables(roles)
