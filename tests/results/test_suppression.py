"""min_publish_n: nothing published names a small group, has its effects, or lets them be worked out."""

from __future__ import annotations

from datetime import UTC, datetime

import duckdb
import numpy as np
import polars as pl
import pytest

from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import fit_analysis
from mlm_ops.analyses.store.prediction_views import create_prediction_views, prediction_views
from mlm_ops.analyses.store.run_facts import run_facts
from mlm_ops.analyses.store.runs import Run, publish, write_run
from mlm_ops.analyses.store.schema import TABLES
from mlm_ops.errors import AnalysisError
from mlm_ops.moments import small_groups
from mlm_ops.moments.small_groups import LEAST_HIDDEN, hide
from mlm_ops.results.tables import suppression

FILE = "analysis: a\ndata: rows\nmodels: {m: 'y ~ within(x) + (1 | g)'}\ndiagnostics: m\n"
SMALL = {"tiny 1", "tiny 2"}


@pytest.fixture
def connection():
    rng = np.random.default_rng(2)
    groups = [(f"class {i}", 12) for i in range(15)] + [(name, 3) for name in sorted(SMALL)]
    g = np.repeat([name for name, _ in groups], [size for _, size in groups])
    level = np.repeat(rng.normal(size=len(groups)), [size for _, size in groups])
    x = rng.normal(size=len(g))
    y = 1 + x + level + rng.normal(size=len(g)) + 4 * np.isin(g, sorted(SMALL))
    with duckdb.connect() as connection:
        connection.register("frame", pl.DataFrame({"g": g, "x": x, "y": y}).to_arrow())
        connection.execute("create table rows as from frame")
        connection.unregister("frame")
        yield connection


def write_analysis(connection, text: str):
    analysis = parse_analysis(text)
    result, now = fit_analysis(analysis, connection), datetime.now(UTC)
    run = Run(run_id="r", analysis="a", started_at=now, finished_at=now, **run_facts(analysis, result.moments))
    write_run(connection, run, result.tables, analysis.history)
    create_prediction_views(connection, analysis, prediction_views(connection, analysis, result.fits))
    return result


def test_without_a_setting_every_group_is_named(connection):
    result = write_analysis(connection, FILE)
    assert set(result.tables["random_effects"]["unit"]) >= SMALL
    assert "min_publish_n" not in (result.tables["models"]["notes"][0] or "")


def test_nothing_published_holds_a_small_group(connection, tmp_path):
    result = write_analysis(connection, FILE + "min_publish_n: 10\n")
    publish(connection, tmp_path / "results.duckdb")
    assert result.tables["random_effects"].height == 17 - LEAST_HIDDEN
    assert result.tables["models"]["notes"][0] == (
        "g has 17 groups: variances between fewer than 20, and their standard errors, are unreliable\n"
        "min_publish_n: 2 of 17 groups of g have fewer than 10 rows and are not named in any published table; with "
        "them 4 more are in no table, so that none can be worked out from the rest"
    )
    units = result.tables["diagnostics"].filter(pl.col("unit").is_not_null())
    assert set(units["unit"]) <= set(result.tables["random_effects"]["unit"])
    with duckdb.connect(str(tmp_path / "results.duckdb"), read_only=True) as copy:
        names = copy.execute("select table_name from duckdb_tables() where schema_name = 'mlm'").fetchall()
        for (name,) in names:
            texts = str(copy.execute(f"select t::varchar from mlm.{name} t").fetchall())
            assert "tiny" not in texts, name


def test_the_fixed_effects_are_those_of_all_rows(connection):
    every = write_analysis(connection, FILE).tables["fixed_effects"]
    assert write_analysis(connection, FILE + "min_publish_n: 10\n").tables["fixed_effects"].equals(every)


def test_predictions_take_a_small_group_for_a_new_one(connection):
    write_analysis(connection, FILE + "min_publish_n: 10\n")
    counts = connection.execute(
        "select g like 'tiny%' as small, bool_and(new_group), count(*) from mlm.predicted_a__m group by 1 order by 1"
    ).fetchall()
    assert counts == [(False, False, 180), (True, True, 6)]
    tables = connection.execute("select table_name from duckdb_tables() where table_name like 'predicted%'").fetchall()
    assert tables
    for (name,) in tables:
        assert "tiny" not in str(connection.execute(f'from mlm."{name}"').fetchall())


def test_a_size_below_one_is_refused():
    with pytest.raises(AnalysisError, match="min_publish_n: got '0'; expected a number of rows, 1 or more"):
        parse_analysis(FILE + "min_publish_n: 0\n")


def test_every_table_has_a_rule():
    assert suppression.RULES.keys() == TABLES.keys()


# --- recovery from what is published ---------------------------------------------------------------------------------

SIZES = [12] * 20 + [3, 4, 5]
#: Data sets that the attack is tried on.
SEEDS = 12


def tables_and_effects(
    seed: int, models: str = "{m: 'y ~ 1 + (1 | g)'}"
) -> tuple[dict[str, pl.DataFrame], dict[str, float]]:
    """Tables of an analysis of 23 groups, three of them small, and every group's effect as fitted."""
    rng = np.random.default_rng(seed)
    g = np.repeat([f"g{i:02}" for i in range(len(SIZES))], SIZES)
    y = np.repeat(rng.normal(size=len(SIZES)), SIZES) + rng.normal(size=len(g))
    with duckdb.connect() as connection:
        connection.register("rows", pl.DataFrame({"g": g, "y": y}).to_arrow())
        text = f"analysis: a\ndata: rows\nmodels: {models}\ndiagnostics: m\nmin_publish_n: 10\n"
        result = fit_analysis(parse_analysis(text), connection)
    effects = result.fits["m"].random_effects
    return result.tables, dict(zip(effects["unit"], effects["estimate"], strict=True))


def recover(tables: dict[str, pl.DataFrame], step: float) -> tuple[dict[str, float], dict[str, float]]:
    """The effects of the units left out, worked out by who knows every size; and their common mean as a guess.

    Known of the distances d of groups' means from the intercept, which the table of groups has as the effects have
    them: the score of the intercept, sum w d = 0, with w = 1 / (tau + sigma2 / n); the REML score of tau, sum w^2 d^2 =
    sum w - sum w^2 / sum w; sum n d^2 by the variance between groups, and sum n d by the mean of all rows where the
    decomposition tells it; and, where least squares stand beside the model, sum n d by the two estimates, sum (n -
    sigma2 w) d^2 by the two residual variances (with sum w d^2 + within / sigma2 = N - 1 at the optimum), and sum n^2
    (d - shift)^2 / (1 - n / N) by the error robust to clusters (CR2). The answer is the mean of 100,000 draws of d ~
    N(0, 1 / w), given the sums without squares, each weighted by how near it comes to the sums of squares.
    """
    tau, sigma2 = tables["variance_components"]["estimate"].to_list()
    n = np.array(SIZES, dtype=float)
    rows, w = n.sum(), 1 / (tau + sigma2 / n)
    labels = [f"g{i:02}" for i in range(len(SIZES))]
    rows_by_unit = {row["unit"]: row for row in tables["random_effects"].iter_rows(named=True)}
    is_hidden = np.array([label not in rows_by_unit for label in labels])
    published_rows = [rows_by_unit[label] for label in labels if label in rows_by_unit]
    d = np.array([row["estimate"] for row in published_rows]) / (tau * w[~is_hidden])
    rounding = np.array([row["std_error"] for row in published_rows]) * step / np.sqrt(12) / (tau * w[~is_hidden])
    d, rounding = with_means(tables, [row["unit"] for row in published_rows], d, rounding, step)

    standard_errors, shares = tables["standard_errors"].row(0, named=True), tables["decomposition"].row(0, named=True)
    sums, squares = [(w, 0.0)], [(w**2, w.sum() - (w**2).sum() / w.sum(), 0.0)]
    # the mean square between groups, around the mean over rows: where that is not told, around the intercept it is near
    off = 0.0 if shares["mean"] is None else shares["mean"] - standard_errors["estimate"]
    size = (rows - (n**2).sum() / rows) / (len(n) - 1)
    across = (len(n) - 1) * (shares["within_variance"] + size * shares["between_variance"])
    squares.append((n, across + rows * off**2, 0.0))
    if shares["mean"] is not None:
        sums.append((n, rows * off))
    if standard_errors["naive_estimate"] is not None:
        shift = standard_errors["naive_estimate"] - standard_errors["estimate"]
        total = (rows - 1) * (rows * standard_errors["naive_std_error"] ** 2 - sigma2) + rows * shift**2
        sums.append((n, rows * shift))
        squares.append((n - sigma2 * w, total, 0.0))
        squares.append((n**2 / (1 - n / rows), (rows * standard_errors["robust_std_error"]) ** 2, shift))

    weights = np.array([c for c, _ in sums])
    rests = np.array([value for _, value in sums]) - weights[:, ~is_hidden] @ d
    noise = (weights[:, ~is_hidden] * rounding**2) @ weights[:, ~is_hidden].T + 1e-12 * np.eye(len(sums))
    prior, along = np.diag(1 / w[is_hidden]), weights[:, is_hidden]
    gain = prior @ along.T @ np.linalg.inv(along @ prior @ along.T + noise)
    values, vectors = np.linalg.eigh(prior - gain @ along @ prior)
    draws = np.random.default_rng(0).normal(size=(100_000, is_hidden.sum()))
    draws = gain @ rests + draws @ (vectors * np.sqrt(np.maximum(values, 0))).T
    nearness = np.zeros(len(draws))
    for c, value, shift in squares:
        rest = value - (c[~is_hidden] * ((d - shift) ** 2 - rounding**2)).sum()
        sums_of_draws = (draws - shift) ** 2 @ c[is_hidden]
        error = max(np.sqrt(((2 * c[~is_hidden] * (d - shift) * rounding) ** 2).sum()), 0.02 * sums_of_draws.std())
        nearness -= ((sums_of_draws - rest) / error) ** 2 / 2
    weight = np.exp(nearness - nearness.max())
    best = tau * w[is_hidden] * (weight @ draws / weight.sum())
    spread = tau**2 * w[is_hidden]
    guess = -sum(row["estimate"] for row in published_rows) * spread / spread.sum()
    names = [label for label, is_in_no_table in zip(labels, is_hidden, strict=True) if is_in_no_table]
    return dict(zip(names, best, strict=True)), dict(zip(names, guess, strict=True))


def with_means(
    tables: dict[str, pl.DataFrame], units: list[str], d: np.ndarray, rounding: np.ndarray, step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Distances from the effects and from the table of groups together, each weighted by its rounding."""
    intercept = tables["fixed_effects"]["estimate"][0]
    means = {row["unit"]: row for row in tables["groups"].filter(variable="y").iter_rows(named=True)}
    other = np.array([means[unit]["mean"] - intercept for unit in units])
    error = np.array([means[unit]["std_dev"] / np.sqrt(means[unit]["n"]) for unit in units]) * step / np.sqrt(12)
    weights = np.array([1 / rounding**2, 1 / error**2])
    return (weights * np.array([d, other])).sum(axis=0) / weights.sum(axis=0), 1 / np.sqrt(weights.sum(axis=0))


def error_ratio(seeds: range, step: float) -> tuple[float, float]:
    """Root mean square error of what is worked out, in standard deviations; and over that of the guess."""
    attack, guess, truth = [], [], []
    for seed in seeds:
        tables, effects = tables_and_effects(seed)
        worked_out, common_mean = recover(tables, step)
        for unit in ("g20", "g21", "g22"):
            attack.append(worked_out[unit] - effects[unit])
            guess.append(common_mean[unit] - effects[unit])
            truth.append(effects[unit])
    error, guess_error, spread = (float(np.sqrt(np.mean(np.square(values)))) for values in (attack, guess, truth))
    return error / spread, error / guess_error


def test_what_is_left_out_cannot_be_worked_out(monkeypatch):
    """No better than to take all that was left out for alike, whose sum is of more rows than the limit."""
    error, against_guess = error_ratio(range(SEEDS), suppression.STEP)
    assert against_guess > 0.95
    assert error > 0.8
    # beside the model's intercept the mean of all rows tells a second sum
    with monkeypatch.context() as patch:
        patch.setitem(suppression.RULES, "decomposition", lambda frame, small: frame)
        assert error_ratio(range(SEEDS), suppression.STEP)[1] < 0.8
    # the attack is one: where the small groups alone are left out, and least squares stand beside, it finds them
    monkeypatch.setattr(small_groups, "LEAST_HIDDEN", 1)
    monkeypatch.setattr(suppression, "STEP", 1e-9)
    monkeypatch.setitem(suppression.RULES, "standard_errors", lambda frame, small: frame)
    error, against_guess = error_ratio(range(SEEDS), 1e-9)
    assert error < 0.2
    assert against_guess < 0.25


def test_numbers_of_groups_that_are_published_are_as_coarse_as_their_effects():
    """Each in steps of a tenth of its error: in every table the rounding is what it is in the effects, or more."""
    model = "{m: 'y ~ within(x) + (1 + within(x) | g)'}"
    tables, fit = with_predictor(model)
    exact = fit.groups().join(tables["groups"], on=["group", "unit", "variable"], suffix="_published")
    assert exact.height == tables["groups"].height == 2 * (len(SIZES) - LEAST_HIDDEN)
    steps = ((exact["mean"] - exact["mean_published"]) / (exact["std_dev"] / exact["n"].sqrt())).to_numpy()
    assert np.abs(steps).max() <= suppression.STEP / 2 * 1.2  # the error is rounded too
    assert steps.std() == pytest.approx(suppression.STEP / np.sqrt(12), rel=0.3)
    errors = dict(
        fit.random_effects.group_by("term").agg(pl.col("std_error").mean()).iter_rows(),
    )
    lines = fit.unit_lines().join(tables["unit_lines"], on=["group", "unit", "term"], suffix="_published")
    assert lines.height == tables["unit_lines"].height == len(SIZES) - LEAST_HIDDEN
    for term, names in (("(Intercept)", ("intercept", "own_intercept")), ("within(x)", ("slope", "own_slope"))):
        for name in names:
            off = (lines[name] - lines[f"{name}_published"]).to_numpy()
            assert np.sqrt((off**2).mean()) > 0.7 * suppression.STEP / np.sqrt(12) * errors[term]
            assert np.abs(off).max() <= suppression.STEP / 2 * lines[f"own_{name.removeprefix('own_')}"].std() * 1.2


def with_predictor(models: str, least: int = 10):
    """The tables and the fit m of groups of the sizes above, with a predictor x."""
    rng = np.random.default_rng(5)
    g = np.repeat([f"g{i:02}" for i in range(len(SIZES))], SIZES)
    x = rng.normal(size=len(g))
    y = x * np.repeat(rng.normal(1, 0.7, size=len(SIZES)), SIZES) + np.repeat(rng.normal(size=len(SIZES)), SIZES)
    y += 0.5 * rng.normal(size=len(g))
    head = (np.arange(len(g)) % 12 == 3).astype(int)
    half = (np.arange(len(g)) % 12 < 6).astype(int)
    with duckdb.connect() as connection:
        frame = pl.DataFrame({"g": g, "x": x, "y": y, "head": head, "half": half})
        connection.register("rows", frame.to_arrow())
        text = f"analysis: a\ndata: rows\nmodels: {models}\nmin_publish_n: {least}\n"
        result = fit_analysis(parse_analysis(text), connection)
    return result.tables, result.fits["m"]


def test_a_unit_s_count_of_a_number_that_is_0_or_1_is_published_of_enough_rows():
    """One person of each group is its head: their mean is one twelfth, and least squares on it have their outcome."""
    models = "{m: 'y ~ x + head + (1 | g)', w: 'y ~ within(head) + (1 | g)', h: 'y ~ half + (1 | g)'}"
    tables, fit = with_predictor(models, least=5)
    assert set(fit.groups()["variable"]) == {"y", "x", "head"}
    assert set(tables["groups"]["variable"]) == {"y", "x", "half"}
    lines = tables["unit_lines"]
    names = {"x_low", "x_high", "own_intercept", "own_slope"}
    for model in ("m", "w"):
        of_head = lines.filter(pl.col("term").str.contains("head"), model=model)
        assert of_head.height == len(SIZES) - LEAST_HIDDEN
        assert {name for name in lines.columns if of_head[name].null_count() == of_head.height} == names
        assert of_head["slope"].null_count() == 0
    assert lines.filter(model="h")["own_slope"].null_count() == 0
    everything, _ = with_predictor(models, least=1)
    assert "head" in set(everything["groups"]["variable"])
    # two of the small groups have no head
    assert everything["unit_lines"].filter(model="m", term="head")["own_slope"].null_count() == 2


def heads_outcomes(fit, n: int) -> np.ndarray:
    """The outcome of the one head among n rows of each unit, from the unit's two random effects.

    ``u = T Z' V^-1 r`` has one equation for the head's residual and one for the sum of the others'.
    """
    effects = fit.random_effects.pivot("term", index="unit", values="estimate")
    z = np.column_stack((np.ones(n), np.arange(n) == 0))
    rows = fit.variance_components
    first, both, second = rows.filter(group="g")["estimate"].to_list()
    tau, sigma2 = np.array([[first, both], [both, second]]), rows.filter(group="residual")["estimate"][0]
    weights = tau @ z.T @ np.linalg.inv(z @ tau @ z.T + sigma2 * np.eye(n))
    equations = np.column_stack((weights[:, 0], weights[:, 1:].sum(axis=1)))
    residuals = np.linalg.solve(equations, effects.select("(Intercept)", "head").to_numpy().T)
    return residuals[0] + fit.fixed_effects["estimate"].sum()


def test_effects_do_not_tell_the_outcome_of_the_one_row_that_a_slope_rests_on():
    """Two effects of a unit are two equations; of 15 rows with one head they tell the head's outcome to all digits."""
    rng = np.random.default_rng(3)
    units, n = 40, 15
    rows = pl.DataFrame({"g": np.repeat([f"g{i:02}" for i in range(units)], n), "head": [1, *[0] * (n - 1)] * units})
    effects, slopes = (np.repeat(rng.normal(size=units), n) for _ in range(2))
    y = effects + rows["head"].to_numpy() * slopes + rng.normal(size=units * n)
    with duckdb.connect() as connection:
        connection.register("rows", rows.with_columns(y=y).to_arrow())
        text = (
            "analysis: a\ndata: rows\nmodels: {m: 'y ~ head + (1 + head | g)', k: 'y ~ head + (1 | g)'}\n"
            "diagnostics: m\nmin_publish_n: 10\n"
        )
        result = fit_analysis(parse_analysis(text), connection)
    np.testing.assert_allclose(heads_outcomes(result.fits["m"], n), y[::n], atol=1e-8)
    tables = result.tables
    assert tables["fixed_effects"].filter(model="m").height == 2
    for name in ("random_effects", "unit_lines", "diagnostics"):
        assert tables[name].filter(pl.col("unit").is_not_null(), model="m").is_empty(), name
    assert tables["random_effects"].filter(model="k").height == units
    assert tables["models"]["notes"].to_list() == [
        "min_publish_n: effects and lines of single groups are in no table, because slopes of head rest on fewer than "
        "10 rows in some of them",
        None,
    ]


def test_variables_of_few_rows_are_in_no_table_of_variables(people):
    """The number of heads of units is five of 240; a model of theirs is withheld, and so are their shares."""
    text = "analysis: a\ndata: people\nmin_publish_n: 10\nmodels: {m: y ~ x + head + (1 | g), k: y ~ x + (1 | g)}\n"
    tables = write_analysis(people, text).tables
    for name in ("decomposition", "groups"):
        assert set(tables[name]["variable"]) == {"y", "x"}
        assert tables[name]["model"].null_count() == tables[name].height
    # no group is small, so that nothing is rounded
    assert tables["decomposition"]["mean"].null_count() == 0
    assert tables["groups"]["n"].to_list() == [15] * 32


def test_one_small_group_is_not_the_sum_of_the_others():
    """What was left out is not minus the sum of the effects that are told, as it is where one alone is left out."""
    for seed in range(5):
        tables, effects = tables_and_effects(seed)
        total = -tables["random_effects"]["estimate"].sum()
        assert tables["random_effects"].height == len(SIZES) - LEAST_HIDDEN
        assert min(abs(total - effects[unit]) for unit in ("g20", "g21", "g22")) > 0.01


def test_nested_units_are_not_the_rest_of_their_parent():
    """In random nests no small unit follows from its parent, its siblings, or the sum of all."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        upper = np.sort(rng.integers(0, rng.integers(2, 15), size=rng.integers(5, 60)))
        upper = np.unique(upper, return_inverse=True)[1]
        lower, n = np.arange(len(upper)), rng.integers(1, 40, size=len(upper)).astype(float)
        least = 8
        sizes = np.bincount(upper, n)
        below, above = hide([lower, upper], n, least)
        assert below[n < least].all()
        assert above[sizes < least].all()
        # unknown: effects that are left out, the upper ones of two models; known: what each upper effect is the sum of,
        # by the two models' weights, and that the effects of all units sum to zero
        parents = np.flatnonzero(above)
        unknown = [("lower", i) for i in np.flatnonzero(below)] + [(m, j) for m in ("first", "second") for j in parents]
        if not unknown:
            continue
        equations = []
        for model, weights in (("first", np.ones(len(n))), ("second", n)):
            for parent in range(len(sizes)):
                members = {("lower", i): weights[i] for i in np.flatnonzero(upper == parent)} | {(model, parent): -1.0}
                equations.append([members.get(name, 0.0) for name in unknown])
            equations.append([float(kind == model) for kind, _ in unknown])
        equations.append([float(kind == "lower") for kind, _ in unknown])
        matrix = np.array(equations)
        shares = np.diag(np.linalg.pinv(matrix) @ matrix)
        recoverable = {name for name, share in zip(unknown, shares, strict=True) if share > 1 - 1e-9}
        assert not recoverable, seed


# --- models that have a number for a small group ---------------------------------------------------------------------


@pytest.fixture
def people():
    """Rows with a factor, a number and a stratum that single out five people."""
    rng = np.random.default_rng(4)
    size = 240
    few = np.arange(size) % 48 == 7
    frame = pl.DataFrame(
        {
            "g": [f"g{i % 16:02}" for i in range(size)],
            "job": np.where(few, "Head of Unit", np.where(np.arange(size) % 2, "clerk", "driver")),
            "sex": np.where(np.arange(size) % 3, "f", "m"),
            "head": few.astype(int),
            "x": rng.normal(size=size),
        }
    )
    y = frame["x"].to_numpy() + 3 * few + np.repeat(rng.normal(size=16), 15) + rng.normal(size=size)
    with duckdb.connect() as connection:
        connection.register("rows_", frame.with_columns(y=y).to_arrow())
        connection.execute("create table people as from rows_")
        yield connection


SINGLE_OUT = {
    "y ~ x + job + (1 | g)": "job has a coefficient of fewer than 10 rows",
    "y ~ job": "job has a coefficient of fewer than 10 rows",
    "y ~ C(job, ref='clerk') * x + (1 | g)": "job has a coefficient of fewer than 10 rows",
    "y ~ C(job, sum) + (1 | g)": "job has a coefficient of fewer than 10 rows",
    "y ~ 0 + sex:job + (1 | g)": "sex:job has a coefficient of fewer than 10 rows",
    "y ~ x + head + (1 | g)": "head is 0 or 1, and one of them in fewer than 10 rows",
    "y ~ within(head) + (1 | g)": "head is 0 or 1, and one of them in fewer than 10 rows",
    "y ~ x + (1 | g), residual by(job)": "by(job) gives a variance to fewer than 10 rows",
}


@pytest.mark.parametrize("model", SINGLE_OUT)
def test_a_model_with_a_number_of_few_rows_is_not_published(model, people):
    formula, _, residual = model.partition(", residual ")
    residual_key = f", residual: {residual}" if residual else ""
    text = (
        f"analysis: a\ndata: people\ncompare: [null, m]\ndiagnostics: m\nmin_publish_n: 10\n"
        f'models: {{null: y ~ 1, m: {{formula: "{formula}"{residual_key}}}}}\n'
    )
    if "(" not in formula.replace("C(", "").replace("within(", ""):
        text = text.replace("diagnostics: m\n", "")
    elif residual:
        text = text.replace("compare: [null, m]\n", "")
    result = write_analysis(people, text)
    assert result.fits["m"].fixed_effects.height  # it is fitted, and not published
    for name, frame in result.tables.items():
        rows = frame.filter(pl.col("model") == "m")
        assert "Head of Unit" not in str(rows.rows()), name
        if name == "models":
            assert rows["notes"][0] == (
                f"min_publish_n: the results of this model are not published, because {SINGLE_OUT[model]}"
            )
            assert rows["formula"][0] == result.fits["m"].model.text
        elif name == "fit_statistics":
            assert no_numbers(rows)
        else:
            assert rows.is_empty(), name
    assert result.tables["fixed_effects"].filter(model="null").height


def no_numbers(frame):
    return all(frame[name].null_count() == frame.height for name, kind in frame.schema.items() if kind == pl.Float64)


def test_a_ladder_tells_no_number_of_such_a_model(people):
    text = (
        "analysis: a\ndata: people\nmin_publish_n: 10\nmodels: {m: y ~ x + (1 | g)}\n"
        "strategy: build_up\nstart: m\ncandidates: {fixed: [head, sex]}\nkeep: p < 0.99\n"
    )
    tables = write_analysis(people, text).tables
    steps = tables["ladder_steps"]
    assert steps.height == 2
    assert no_numbers(steps.filter(pl.col("term") == "head"))
    assert "head" not in set(tables["fixed_effects"]["term"])


def test_a_factor_of_large_groups_is_published(people):
    text = "analysis: a\ndata: people\nmin_publish_n: 10\nmodels: {m: y ~ x * sex + (1 | g)}\n"
    tables = write_analysis(people, text).tables
    assert tables["fixed_effects"]["term"].to_list() == ["(Intercept)", "x", "sex[m]", "x:sex[m]"]
    assert "min_publish_n" not in (tables["models"]["notes"][0] or "")


def test_least_squares_beside_small_groups(connection):
    """A mean of all rows beside one that weights groups otherwise tells the sum of the small ones."""
    text = "analysis: a\ndata: rows\nmodels: {flat: y ~ 1, m: y ~ 1 + (1 | g)}\n"
    tables = write_analysis(connection, text + "min_publish_n: 10\n").tables
    assert set(tables["fixed_effects"]["model"]) == {"m"}
    assert tables["models"]["notes"][0] == (
        "min_publish_n: the results of this model are not published, because beside a model with groups it would "
        "reveal the mean of the small ones"
    )
    assert tables["standard_errors"]["naive_estimate"].null_count() == tables["standard_errors"].height
    every = write_analysis(connection, text + "min_publish_n: 3\n").tables
    assert set(every["fixed_effects"]["model"]) == {"flat", "m"}
    assert every["standard_errors"]["naive_estimate"].null_count() == 0


def test_an_analysis_of_few_rows_tells_nothing(people):
    text = "analysis: a\ndata: people\nwhere: head = 1\nmin_publish_n: 10\nmodels: {m: y ~ 1}\n"
    tables = write_analysis(people, text).tables
    assert tables["fixed_effects"].is_empty()
    assert tables["decomposition"].is_empty()
    assert tables["groups"].is_empty()
    assert tables["models"]["notes"][0].endswith("because it has fewer than 10 rows")


def test_what_rows_tell_is_of_enough_rows(people):
    """No largest residual, no quantile with few rows beyond it, no bin of few rows; nor what tells of one."""
    text = "analysis: a\ndata: people\nmin_publish_n: 20\nmodels: {m: y ~ x + sex + (1 | g)}\ndiagnostics: m\n"
    findings = write_analysis(people, text).tables["diagnostics"]
    assert "largest_residual" not in set(findings["diagnostic"])
    quantiles = findings.filter(diagnostic="residual_quantile")
    assert quantiles["value"].to_list() == quantiles["at"].to_list() == [0.1, 0.25, 0.5, 0.75, 0.9]
    bins = findings.filter(diagnostic="binned_residual")
    assert bins["n"].min() >= 20
    assert dict(bins.group_by("term").agg(pl.col("n").sum()).iter_rows()) == dict.fromkeys(bins["term"].unique(), 240)
    # as many rows beyond either end as may be told of
    exactly = write_analysis(people, text.replace("min_publish_n: 20\n", "min_publish_n: 24\n")).tables["diagnostics"]
    assert exactly.filter(diagnostic="residual_quantile")["value"].to_list() == [0.1, 0.25, 0.5, 0.75, 0.9]
    every = write_analysis(people, text.replace("min_publish_n: 20\n", "")).tables["diagnostics"]
    assert every.filter(diagnostic="binned_residual")["n"].min() < 20
    assert every.filter(diagnostic="largest_residual").height == 1


def test_what_differs_between_runs_tells_of_no_few_rows(connection, tmp_path):
    """Three new rows: two means of all rows give the mean of the three exactly, so that one run alone is published."""
    text = "analysis: a\ndata: rows\nmodels: {m: y ~ 1}\nmin_publish_n: 10\n"
    new_rows = [("class 0", 0.0, 10.0), ("class 0", 0.0, 20.0), ("class 1", 0.0, 33.0)]
    for run_id in ("first", "second"):
        analysis = parse_analysis(text)
        result, now = fit_analysis(analysis, connection), datetime.now(UTC)
        facts = run_facts(analysis, result.moments)
        write_run(connection, Run(run_id=run_id, analysis="a", started_at=now, finished_at=now, **facts), result.tables)
        connection.executemany("insert into rows values (?, ?, ?)", new_rows)
    signed_n = "if(run_id = 'second', n_obs, -n_obs)"
    worked_out = (
        f"select sum({signed_n} * estimate) / sum({signed_n}) from mlm.fixed_effects join mlm.runs using (run_id)"
    )
    assert connection.execute(worked_out).fetchall()[0][0] == pytest.approx(21.0, abs=1e-9)  # the warehouse has both
    publish(connection, tmp_path / "results.duckdb")
    with duckdb.connect(str(tmp_path / "results.duckdb"), read_only=True) as copy:
        for table in ("runs", "fixed_effects", "fit_statistics", "models"):
            assert copy.execute(f"select distinct run_id from mlm.{table}").fetchall() == [("second",)]
        assert copy.execute("select count(*) from mlm.drift").fetchall() == [(0,)]
    # without the setting the history is published whole
    connection.execute("update mlm.runs set analysis_text = '{}'")
    publish(connection, tmp_path / "results.duckdb")
    with duckdb.connect(str(tmp_path / "results.duckdb"), read_only=True) as copy:
        assert copy.execute("select count(*) from mlm.runs").fetchall() == [(2,)]


def test_the_script_of_a_model_names_no_group_that_another_model_codes(connection):
    """g is a factor of m, which is withheld, and only the grouping factor of k."""
    text = "analysis: a\ndata: rows\nmin_publish_n: 10\nmodels: {m: y ~ x + g, k: y ~ 1 + (1 | g)}\n"
    texts = str(write_analysis(connection, text).tables["models"].rows())
    assert "tiny" not in texts
    assert "lmer(" in texts
