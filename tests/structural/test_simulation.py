"""Data sets of known truth: structural models find it, and their intervals hold it as often as they say.

Means over data sets lie within four of their standard errors of the truth where a method is unbiased, or so near to it
that the bias of maximum likelihood in some hundred clusters does not matter; a coverage of 500 data sets lies within
three of its standard errors, .03, of .95.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.structural.simulation import STUDIES, Summary, draw_contextual, simulate

#: What is known not to be estimated without bias: by method, of each study.
BIASED = {
    "contextual": {("observed", "effect")},
    "missing": {("listwise", name) for name in STUDIES["missing"].truth},
    "centering": {
        ("observed mean", "slope between"),
        ("as it is", "variance of the slope"),
        ("as it is", "covariance with the intercept"),
    },
}


def is_unbiased(summary: Summary) -> bool:
    """Within chance of the truth, or within a seventh of the spread, which costs an interval less than one percent."""
    return abs(summary.bias) < 4 or abs(summary.mean - summary.truth) < summary.sd / 7


@pytest.mark.simulation
@pytest.mark.parametrize("study", STUDIES)
def test_estimates_and_coverage_over_many_data_sets(study: str) -> None:
    biased = BIASED.get(study, set())
    samples = STUDIES[study].samples
    summaries, margin = simulate(study, samples), 0.03 * np.sqrt(500 / samples)
    assert biased <= summaries.keys()
    for key, summary in summaries.items():
        if key in biased:
            assert abs(summary.bias) > 5, key
        else:
            assert is_unbiased(summary), key
            assert not summary.coverage < 0.95 - margin, key
            assert not summary.coverage > 0.95 + margin, key


@pytest.mark.parametrize(("study", "samples"), [("contextual", 8), ("slopes", 3), ("missing", 4), ("centering", 2)])
def test_estimates_over_some_data_sets(study: str, samples: int) -> None:
    """A slice of the above, a second or two of each study."""
    biased = BIASED.get(study, set())
    for key, summary in simulate(study, samples).items():
        # so few data sets do not tell of their spread, which the standard errors do
        bias = (summary.mean - summary.truth) / (summary.std_error / np.sqrt(samples))
        if key in {("observed", "effect"), ("listwise", "mean of m"), ("listwise", "mean of y")}:
            assert bias < -3, key
        elif key not in biased:
            # of thirty quantities the largest lies at three now and then
            assert not abs(bias) > 4, key


def test_latent_means_are_nearer_to_the_truth_than_observed_ones() -> None:
    """Lüdtke et al. (2008): the effect of observed means tends to .25 and that of latent ones to the truth, .7."""
    study = STUDIES["contextual"]
    estimates = study.estimate(draw_contextual(np.random.default_rng(1), clusters=3000))
    observed, latent = (estimates[method]["effect"] for method in ("observed", "latent"))
    assert observed.estimate == pytest.approx(0.25, abs=0.06)
    assert latent.low < 0.7 < latent.high
