"""Fit many simulated data sets of known truth: what structural models estimate, and how often intervals hold it.

``python -m tests.structural.simulation`` prints the numbers of docs/sem.md; ``… 100 missing`` 100 data sets of one
study. Studies, with their truths beside them:

contextual
    Lüdtke et al. (2008): 500 clusters of 5 rows, intraclass correlation of x .10, so that the effect of observed
    cluster means tends to .25.
slopes
    1-1-1 mediation of 200 clusters of 10 rows with three random slopes, E(ab) = .5 x .4 + .08 (Bauer, Preacher and Gil
    2006).
missing
    1-1-1 mediation of 100 clusters of 10 rows; three of five m are missing where y is positive: at random, given y.
centering
    200 clusters of 5 rows, intraclass correlation of x .20: the slope of x around its latent mean, around the observed
    one, and of x as it is (Asparouhov and Muthén 2018).
chain
    1-1-1 mediation of 100 clusters of 6 rows, x and m of both levels: both slopes around latent means, E(ab) = .28; 100
    data sets.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from mlm_ops import fit, sem
from mlm_ops.inference.t_distribution import NORMAL_975


class Interval(NamedTuple):
    """An estimate with its 95% interval."""

    estimate: float
    low: float
    high: float


#: Of one data set, by method and quantity.
Estimates = dict[str, dict[str, Interval]]


@dataclass(frozen=True)
class Study:
    """What is drawn, how it is estimated, the truth of each quantity, and data sets for its coverage."""

    draw: Callable[[np.random.Generator], pl.DataFrame]
    estimate: Callable[[pl.DataFrame], Estimates]
    truth: dict[str, float]
    samples: int = 500


@dataclass(frozen=True)
class Summary:
    """Of one quantity by one method, over data sets: mean, standard deviation, mean standard error, and coverage."""

    truth: float
    mean: float
    sd: float
    std_error: float
    coverage: float
    samples: int

    @property
    def bias(self) -> float:
        """In standard errors of the mean over the data sets."""
        return float((self.mean - self.truth) / (self.sd / np.sqrt(self.samples)))


def _around(estimate: float, std_error: float) -> Interval:
    return Interval(estimate, estimate - NORMAL_975 * std_error, estimate + NORMAL_975 * std_error)


def _parameters(
    text: str, rows: pl.DataFrame, names: dict[str, tuple[int, str, str, str]], **options: Any
) -> dict[str, Interval]:
    """Estimates of parameters by level, lhs, op and rhs, with Wald intervals."""
    table = sem(text, rows, cluster="g", **options).parameters
    found = {(r["level"], r["lhs"], r["op"], r["rhs"]): r for r in table.iter_rows(named=True)}
    columns = ("estimate", "conf_low", "conf_high")
    return {name: Interval(*(found[key][column] for column in columns)) for name, key in names.items()}


def draw_contextual(rng: np.random.Generator, clusters: int = 500) -> pl.DataFrame:
    """Slopes .3 within and 1 between."""
    g = np.repeat(np.arange(clusters), 5)
    x_b, x_w = np.sqrt(0.1) * rng.standard_normal(clusters), np.sqrt(0.9) * rng.standard_normal(len(g))
    u, e = np.sqrt(0.1) * rng.standard_normal(clusters), np.sqrt(0.6) * rng.standard_normal(len(g))
    return pl.DataFrame({"g": g, "x": x_b[g] + x_w, "y": 0.3 * x_w + x_b[g] + u[g] + e})


def estimate_contextual(rows: pl.DataFrame) -> Estimates:
    """By observed and by latent cluster means."""
    observed = fit("y ~ x + between(x) + (1 | g)", rows, estimator="ml", df="none").fixed_effects
    row = observed.filter(pl.col("term") == "between(x)").row(0, named=True)
    latent = _parameters("contextual: y ~ x", rows, {"effect": (0, "contextual", ":=", "between - within")})
    return {"observed": {"effect": _around(row["estimate"], row["std_error"])}, "latent": latent}


def draw_slopes(rng: np.random.Generator) -> pl.DataFrame:
    """Slopes a, b and c of means .5, .4 and .2, variances .16, .16 and .09; a and b correlate by .5."""
    g = np.repeat(np.arange(200), 10)
    deviations, correlations = np.array([0.5, 0.5, 0.4, 0.4, 0.3]), np.eye(5)
    correlations[2, 3] = correlations[3, 2] = 0.5
    effects = rng.multivariate_normal(
        [0, 0, 0.5, 0.4, 0.2], correlations * np.outer(deviations, deviations), size=200, method="cholesky"
    )
    m_0, y_0, a, b, c = effects[g].T
    x, e_m, e_y = rng.standard_normal((3, len(g)))
    m = m_0 + a * x + 0.8 * e_m
    return pl.DataFrame({"g": g, "x": x, "m": m, "y": y_0 + b * m + c * x + 0.8 * e_y})


def estimate_slopes(rows: pl.DataFrame) -> Estimates:
    """By the ready model; the intervals of E(ab) by the delta method, and by Monte Carlo."""
    found = sem("mediation 1-1-1 random: x -> m -> y", rows, cluster="g", slopes="observed")
    labels = {"mean_a": "mean a", "mean_b": "mean b", "cov_ab": "covariance of a and b", "indirect": "E(ab)"}
    quantities = {
        labels.get(row["label"], f"variance of {row['lhs']}"): Interval(
            row["estimate"], row["conf_low"], row["conf_high"]
        )
        for row in found.parameters.iter_rows(named=True)
        if row["label"] in labels or (row["level"] == 2 and row["lhs"] == row["rhs"] and row["lhs"] in ("a", "b", "c"))
    }
    (row,) = found.defined().filter(name="indirect").iter_rows(named=True)
    monte_carlo = Interval(row["estimate"], row["monte_carlo_low"], row["monte_carlo_high"])
    return {"delta": quantities, "Monte Carlo": {"E(ab)": monte_carlo}}


def draw_missing(rng: np.random.Generator) -> pl.DataFrame:
    """Slopes m on x and y on m of .5, y on x of .2 within; where y is positive three of five m are gone."""
    g = np.repeat(np.arange(100), 10)
    x_w, m_e, y_e = rng.standard_normal((3, len(g)))
    x_b, m_u, y_u = 0.5 * rng.standard_normal((3, 100))
    m_w, m_b = 0.5 * x_w + 0.8 * m_e, 0.5 * x_b + m_u
    y = 0.5 * m_w + 0.2 * x_w + 0.8 * y_e + (0.5 * m_b + y_u)[g]
    is_gone = pl.Series((y > 0) & (rng.random(len(g)) < 0.6))
    rows = pl.DataFrame({"g": g, "x": x_w + x_b[g], "m": m_w + m_b[g], "y": y})
    return rows.with_columns(m=pl.when(is_gone).then(None).otherwise(pl.col("m")))


def estimate_missing(rows: pl.DataFrame) -> Estimates:
    """By complete rows, and by all that there is."""
    names = {
        "a within": (1, "m", "~", "x"),
        "b within": (1, "y", "~", "m"),
        "indirect within": (0, "indirect_within", ":=", "aw*bw"),
        "mean of m": (2, "m", "~1", ""),
        "mean of y": (2, "y", "~1", ""),
    }
    return {
        missing: _parameters("mediation 1-1-1: x -> m -> y", rows, names, missing=missing)
        for missing in ("listwise", "ml")
    }


def draw_centering(rng: np.random.Generator, clusters: int = 200) -> pl.DataFrame:
    """A slope of mean .4 and variance .16 within clusters, covariance .1 with the intercept; 1 between clusters."""
    g = np.repeat(np.arange(clusters), 5)
    x_b, u, v = rng.standard_normal((3, clusters))
    x_w, e = rng.standard_normal((2, len(g)))
    slope, intercept = 0.4 + 0.4 * u, 0.5 * x_b + 0.5 * (0.5 * u + np.sqrt(0.75) * v)
    return pl.DataFrame({"g": g, "x": 0.5 * x_b[g] + x_w, "y": intercept[g] + slope[g] * x_w + 0.8 * e})


def estimate_centering(rows: pl.DataFrame) -> Estimates:
    """Around the latent mean, around the observed one by a mixed model, and as it is."""
    text = 'level: 1\n y ~ rv("s")*x\nlevel: 2\n y ~ x\n y ~~ s'
    names = {
        "mean slope": (2, "s", "~1", ""),
        "variance of the slope": (2, "s", "~~", "s"),
        "covariance with the intercept": (2, "y", "~~", "s"),
        "slope between": (2, "y", "~", "x"),
    }
    mixed = fit("y ~ within(x) + between(x) + (within(x) | g)", rows, estimator="ml", df="none")
    fixed = {row["term"]: row for row in mixed.fixed_effects.iter_rows(named=True)}
    t = {(row["term"], row["other"]): row["estimate"] for row in mixed.variance_components.iter_rows(named=True)}
    pair = next(value for (_, other), value in t.items() if other is not None)
    centered = {
        "mean slope": _around(fixed["within(x)"]["estimate"], fixed["within(x)"]["std_error"]),
        "slope between": _around(fixed["between(x)"]["estimate"], fixed["between(x)"]["std_error"]),
        "variance of the slope": Interval(t["within(x)", None], np.nan, np.nan),
        "covariance with the intercept": Interval(pair, np.nan, np.nan),
    }
    plain = _parameters(text, rows, names, slopes="observed")
    # the slope multiplies the part between too: what x has there is on top of its mean
    plain["slope between"] = Interval(plain["slope between"].estimate + plain["mean slope"].estimate, np.nan, np.nan)
    return {"latent mean": _parameters(text, rows, names), "observed mean": centered, "as it is": plain}


def draw_chain(rng: np.random.Generator) -> pl.DataFrame:
    """Slopes a and b of means .5 and .4, variances .16, correlation .5; .5 between clusters."""
    g = np.repeat(np.arange(100), 6)
    slopes = rng.multivariate_normal([0.5, 0.4], [[0.16, 0.08], [0.08, 0.16]], size=100, method="cholesky")
    x_w, m_e, y_e = rng.standard_normal((3, len(g)))
    x_b, m_u, y_u = 0.5 * rng.standard_normal((3, 100))
    m_w, m_b = slopes[g, 0] * x_w + 0.8 * m_e, 0.5 * x_b + m_u
    y = slopes[g, 1] * m_w + 0.8 * y_e + (0.5 * m_b + y_u)[g]
    return pl.DataFrame({"g": g, "x": x_w + x_b[g], "m": m_w + m_b[g], "y": y})


def estimate_chain(rows: pl.DataFrame) -> Estimates:
    """By an integral over both slopes."""
    text = 'level: 1\n m ~ rv("a")*x\n y ~ rv("b")*m\nlevel: 2\n m ~ x\n y ~ m\n a ~ ma*1\n b ~ mb*1\n a ~~ cab*b\n'
    names = {
        "mean a": (2, "a", "~1", ""),
        "mean b": (2, "b", "~1", ""),
        "variance of a": (2, "a", "~~", "a"),
        "variance of b": (2, "b", "~~", "b"),
        "covariance of a and b": (2, "a", "~~", "b"),
        "m on x between": (2, "m", "~", "x"),
        "y on m between": (2, "y", "~", "m"),
        "E(ab)": (0, "indirect", ":=", "ma*mb + cab"),
    }
    return {"latent means": _parameters(f"{text}indirect := ma*mb + cab", rows, names)}


STUDIES = {
    "contextual": Study(draw_contextual, estimate_contextual, {"effect": 0.7}),
    "slopes": Study(
        draw_slopes,
        estimate_slopes,
        {
            "mean a": 0.5,
            "mean b": 0.4,
            "variance of a": 0.16,
            "variance of b": 0.16,
            "variance of c": 0.09,
            "covariance of a and b": 0.08,
            "E(ab)": 0.28,
        },
    ),
    "missing": Study(
        draw_missing,
        estimate_missing,
        {"a within": 0.5, "b within": 0.5, "indirect within": 0.25, "mean of m": 0.0, "mean of y": 0.0},
    ),
    "centering": Study(
        draw_centering,
        estimate_centering,
        {
            "mean slope": 0.4,
            "variance of the slope": 0.16,
            "covariance with the intercept": 0.1,
            "slope between": 1.0,
        },
    ),
    "chain": Study(
        draw_chain,
        estimate_chain,
        {
            "mean a": 0.5,
            "mean b": 0.4,
            "variance of a": 0.16,
            "variance of b": 0.16,
            "covariance of a and b": 0.08,
            "m on x between": 0.5,
            "y on m between": 0.5,
            "E(ab)": 0.28,
        },
        samples=100,
    ),
}


def simulate(name: str, samples: int) -> dict[tuple[str, str], Summary]:
    """By method and quantity, over the first data sets of a study."""
    study = STUDIES[name]
    estimates = [study.estimate(study.draw(np.random.default_rng(seed))) for seed in range(samples)]
    summaries = {}
    for method, quantities in estimates[0].items():
        for quantity in quantities:
            truth = study.truth[quantity]
            values, low, high = np.array([sample[method][quantity] for sample in estimates], dtype=float).T
            holds = (low <= truth) & (truth <= high)
            # without an error there is no interval, and nothing is covered
            coverage = float(holds.mean()) if np.isfinite(low).any() else np.nan
            std_error = float((high - low).mean() / (2 * NORMAL_975))
            summaries[method, quantity] = Summary(
                truth, float(values.mean()), float(values.std(ddof=1)), std_error, coverage, samples
            )
    return summaries


def report(name: str, samples: int) -> str:
    """A table to read."""
    lines = [f"{name}, {samples} data sets: truth, mean, standard deviation, coverage, bias in standard errors"]
    for (method, quantity), s in simulate(name, samples).items():
        numbers = f"{s.truth:6.3f} {s.mean:8.4f} {s.sd:7.4f} {s.coverage:6.3f} {s.bias:7.1f}"
        lines.append(f"  {method:14} {quantity:30} {numbers}")
    return "\n".join(lines)


if __name__ == "__main__":
    for study in sys.argv[2:] or STUDIES:
        print(report(study, int(sys.argv[1]) if len(sys.argv) > 1 else STUDIES[study].samples), flush=True)
