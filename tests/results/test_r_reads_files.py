"""The R scripts of `to_lme4` run on the files that the fits were made of, and find the same coefficients."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import mlm_ops as mlm

RSCRIPT = shutil.which("Rscript")
#: lme4's optimiser stops at a relative change of 1e-8 or so of the deviance.
CLOSE = 1e-5
Number = Callable[[object], str]


def _has_lme4() -> bool:
    if RSCRIPT is None:
        return False
    command = [RSCRIPT, "-e", 'quit(status = !requireNamespace("lme4", quietly = TRUE))']
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not _has_lme4(), reason="R with lme4 is not installed")


def _rows() -> list[tuple[int, int, float, bool, float]]:
    random = np.random.default_rng(3)
    group = np.repeat(np.arange(20), 10)
    x, b = random.normal(size=200).round(4), random.integers(0, 2, 200)
    y = (1 + 0.5 * x + random.normal(size=20)[group] + 0.3 * b + random.normal(size=200)).round(4)
    return [(i, int(g), float(v), bool(k), float(w)) for i, (g, v, k, w) in enumerate(zip(group, x, b, y, strict=True))]


def _comma(value: object) -> str:
    return str(value).replace(".", ",")


def _lines(header: str, row: Callable[[int, int, float, bool, float], str]) -> str:
    return "\n".join([header, *(row(*cells) for cells in _rows())]) + "\n"


def _files() -> Iterator[tuple[str, bytes, str]]:
    formula = "y ~ x + b + (1 | g)"
    plain = _lines("g,x,b,y", lambda i, g, x, b, y: f"{g},{x},{str(b).upper()},{y}")
    yield "plain.csv", plain.encode(), formula
    write_csv = _lines(
        '"","g","x","b","y"', lambda i, g, x, b, y: f'"{i}","s{g}",{x},{str(b).upper()},{y if i % 7 else "NA"}'
    )
    yield "write.csv", write_csv.encode(), formula
    yield "compressed.csv.gz", gzip.compress(write_csv.encode()), formula
    table = _lines('"g" "x" "b" "y"', lambda i, g, x, b, y: f'"{i}" "s{g}" {x} "{"TF"[b]}" {y}')
    yield "write.table.txt", table.encode(), formula
    yield "letters.csv", _lines("g,x,b,y", lambda i, g, x, b, y: f"{g},{x},{'FT'[b]},{y}").encode(), formula
    german = _lines("g;x;b;y;größe", lambda i, g, x, b, y: f"{g};{_comma(x)};{['Nein', 'Ja'][b]};{_comma(y)};ä")
    yield "german.csv", german.encode("latin-1"), formula
    words = _lines(
        "g;x;b;y", lambda i, g, x, b, y: f"{g};{_comma(x) if i % 9 else '.'};{['-', 'Ja'][b]};{_comma(1000 * y + 5000)}"
    )
    yield "words.csv", words.encode("utf-16"), formula
    thousands = _lines("g,x,b,y", lambda i, g, x, b, y: f'{g},{x},{b},"{1000 * y:,.1f}"')
    yield "thousands.csv", thousands.encode(), formula
    yield "mark.tsv", b"\xef\xbb\xbf" + plain.replace(",", "\t").encode(), formula
    double = _lines("y,g,x,x,b,y", lambda i, g, x, b, y: f"0,{g},9,{x},{b},{y}")
    yield "twice.csv", double.encode(), "y_1 ~ x_1 + b + (1 | g)"
    title = "Table 1\n\n" + plain
    yield "title.csv", title.encode(), formula


@pytest.mark.parametrize(("name", "content", "formula"), [pytest.param(*case, id=case[0]) for case in _files()])
def test_the_script_runs_on_the_file(name: str, content: bytes, formula: str, tmp_path: Path) -> None:
    assert RSCRIPT is not None
    (tmp_path / name).write_bytes(content)
    fit = mlm.fit(formula, tmp_path / name)
    script = tmp_path / "model.R"
    script.write_text(
        fit.to_lme4() + '\ncat("FIXEF", format(fixef(fit), digits = 15), ncol(data), "\\n")\n', encoding="utf-8"
    )
    done = subprocess.run(
        [RSCRIPT, "-e", f'source("{script}", encoding = "UTF-8")'], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FIXEF")]
    *estimates, columns = map(float, line.split()[1:])
    np.testing.assert_allclose(estimates, fit.fixed_effects["estimate"].to_numpy(), rtol=CLOSE)
    assert columns == 4
