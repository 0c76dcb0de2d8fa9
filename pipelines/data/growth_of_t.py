"""Generate growth_of_t.csv: pupils in 100 schools, with a seven-by-seven T of which every number is known.

``python growth_of_t.py`` writes the file anew beside this script. Python's generator of random numbers gives the same
numbers for the same seed on every version and machine, so the file is always the same, byte for byte.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist

SEED = 1992
SCHOOLS = 100
#: Pupils of a school: from the least to the most, each number as often as another.
FEWEST, MOST = 24, 36
#: gamma: the intercept and the mean slopes of six predictors.
GAMMA = (50.0, 2.0, -1.5, 1.0, 0.5, 0.0, -0.5)
#: L, the lower triangle of which T = L L': the standard deviations fall from 3.0 to about 0.6, and all correlate.
L = (
    (3.0,),
    (0.6, 1.4),
    (-0.5, 0.4, 1.1),
    (0.4, -0.3, 0.3, 1.0),
    (0.3, 0.2, -0.3, 0.2, 0.8),
    (-0.3, 0.2, 0.2, -0.2, 0.2, 0.7),
    (0.2, -0.2, 0.1, 0.2, -0.1, 0.2, 0.5),
)
#: The standard deviation of what is left: sigma2 is 9.
SIGMA = 3.0
COLUMNS = ("school", *(f"x{number}" for number in range(1, 7)), "y")


def lines() -> Iterator[str]:
    """Yield the lines of the file: y = gamma' x + u' x + e, with a school's u = L z and x = (1, x1, ..., x6)."""
    numbers = random.Random(SEED)

    def normal() -> float:
        # random() alone is promised to stay the same from version to version, gauss() is not
        return NormalDist().inv_cdf(numbers.random() or 0.5)

    yield ",".join(COLUMNS)
    for school in range(1, SCHOOLS + 1):
        z = [normal() for _ in L]
        u = [sum(weight * draw for weight, draw in zip(row, z, strict=False)) for row in L]
        for _ in range(FEWEST + int(numbers.random() * (MOST - FEWEST + 1))):
            x = [1.0, *(round(normal(), 2) for _ in range(6))]
            y = sum((gamma + effect) * value for gamma, effect, value in zip(GAMMA, u, x, strict=True))
            yield ",".join([str(school), *(f"{value:.2f}" for value in x[1:]), f"{y + SIGMA * normal():.2f}"])


if __name__ == "__main__":
    text = "".join(f"{line}\n" for line in lines())
    Path(__file__).with_suffix(".csv").write_text(text, encoding="utf-8", newline="\n")
