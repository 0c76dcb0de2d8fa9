"""Tables for papers: files hold what the tables hold, to the last digit or as they are printed, whatever the names."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import docx
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.errors import MlmError
from mlm_ops.results.equations.writers import GREEK
from mlm_ops.results.export.table_files import to_read
from mlm_ops.results.tables import with_model
from mlm_ops.results.text.side_by_side import SideBySide
from mlm_ops.results.words import cell, latex_text, one_line
from tests.results.test_mathml import structural
from tests.specification.reference import reference

#: Everything that LaTeX, CSV, Word or a terminal would take for something else.
NAMES = [
    "a_b & 50% #1 $x$ {y} ~^\\",
    "[x]",
    "*",
    "--",
    "<0.1 | `q`",
    'comma, "quote"\nline',
    "\x1b[2J\u202e\ufffe",
    "größe Ω",
]


SMALL = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@cache
def null() -> mlm.Fit:
    return reference.fitted("hsb_null_reml")


@cache
def slopes() -> mlm.Fit:
    return reference.fitted("hsb_cross_level")


@cache
def beside() -> SideBySide:
    return mlm.side_by_side({"null": null(), "slopes": slopes()})


def latex_cells(text: str) -> list[list[str]]:
    """The rows of a table, cell by cell, without their escapes."""
    body = re.search(r"\\begin\{(tabular|longtable)\}.*?\n(.*)\\end\{\1\}", text, flags=re.DOTALL)
    assert body is not None
    lines = [line for line in body[2].splitlines() if not re.fullmatch(r"\\[a-z]+", line)]
    assert all(line.endswith(r" \\") for line in lines)
    rows = [re.split(r"(?<!\\)&", line.removesuffix(r" \\")) for line in lines]
    return [[unescaped(text.strip()) for text in row] for row in rows]


def unescaped(text: str) -> str:
    text = re.sub(r"\\multicolumn\{\d+\}\{l\}\{\\textit\{(.*)\}\}", r"\1", text)
    text = re.sub(r"\\textsuperscript\{(\*+)\}", r"\1", text).replace("$-$", "-")
    text = re.sub(r"\\ensuremath\{\\([a-z]+)\}", lambda letter: GREEK.get(letter[1], "σ"), text)
    text = re.sub(r"\\textsubscript\{([\d,]+)\}", lambda index: index[1].translate(SMALL), text)
    text = text.replace(r"\textsuperscript{2}", "²")
    words = {"textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textless": "<", "textgreater": ">"}
    words |= {"textbar": "|", "textasciigrave": "`"}
    text = re.sub(r"\\([a-z]+)\{\}", lambda word: words[word[1]], text)
    return re.sub(r"\\([_&%$#{}])", r"\1", text.replace("-{}-", "--").removeprefix("{}"))


def word_cells(path: Path) -> list[list[str]]:
    (table,) = docx.Document(str(path)).tables
    return [[box.text for box in row.cells] for row in table.rows]


def paper_rows(table: pl.DataFrame | SideBySide) -> list[list[str]]:
    """Heading, titles and rows of a table to read."""
    shown = to_read(table)
    rows = [list(shown.heading)]
    for title, section in shown.sections.items():
        rows += [[title] * (1 if title else 0)] if title else []
        rows += [list(row) for row in section]
    return rows


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_every_digit_and_column(ending: str, tmp_path: Path) -> None:
    for name in ("fixed_effects", "variance_components", "random_effects", "fit_statistics"):
        table = getattr(slopes(), name)
        path = tmp_path / f"{name}.{ending}"
        mlm.write_table(table, path)
        again = pl.read_csv(path, schema_overrides=table.schema) if ending == "csv" else pl.read_parquet(path)
        assert again.equals(table)


def test_models_side_by_side_have_the_numbers_of_the_tables() -> None:
    numbers = beside().numbers
    assert numbers.columns == ["part", "term", "statistic", "null", "slopes"]
    for name, fit in {"null": null(), "slopes": slopes()}.items():
        rows = numbers.select("term", "statistic", name).iter_rows()
        values = {(term, statistic): value for term, statistic, value in rows}
        for row in fit.fixed_effects.iter_rows(named=True):
            for statistic in ("estimate", "std_error", "p_value"):
                assert values[row["term"], statistic] == row[statistic]
        statistics = fit.fit_statistics.row(0, named=True)
        # the fixed parts differ, so that the criteria are those by ML
        for term, column in {"observations": "n_obs", "AIC": "aic_ml", "BIC": "bic_ml", "ICC": "icc"}.items():
            assert values[term, column] == statistics[column]
        assert values["units of school", "n_groups"] == 160
        assert values["residual", "estimate"] == fit.variance_components["estimate"][-1]
        shares = dict(fit.r_squared().filter(pl.col("level").is_null()).select("measure", "estimate").iter_rows())
        assert values["R2 marginal", "nakagawa_marginal"] == shares["nakagawa_marginal"]
    assert len(values) == numbers.height


def test_models_side_by_side_are_in_the_order_of_the_text() -> None:
    terms = [row[0] for section in beside().sections.values() for row in section if row[0]]
    numbers = beside().numbers.filter(~pl.col("statistic").is_in(["std_error", "p_value"]))
    assert numbers["term"].to_list() == [term for term in terms if term != "estimator"]


def test_a_model_may_be_called_like_a_column(tmp_path: Path) -> None:
    table = mlm.side_by_side({"term": null(), "part": null()})
    assert table.numbers.columns == ["part", "term", "statistic", "term (model)", "part (model)"]
    mlm.write_table(table, tmp_path / "t.csv")


@pytest.mark.parametrize("what", ["fixed_effects", "fit_statistics", "side by side", "structural"])
def test_latex_and_word_have_the_printed_cells(what: str, tmp_path: Path) -> None:
    table = (
        beside()
        if what == "side by side"
        else structural().parameters
        if what == "structural"
        else getattr(slopes(), what)
    )
    rows = paper_rows(table)
    mlm.write_table(table, tmp_path / "t.tex")
    mlm.write_table(table, tmp_path / "t.docx")
    text = (tmp_path / "t.tex").read_text()
    assert latex_cells(text) == rows
    columns = re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)
    assert columns is not None
    assert len(columns[1]) == len(rows[0])
    # a title goes over all columns of its row
    assert word_cells(tmp_path / "t.docx") == [row if len(row) > 1 else row * len(rows[0]) for row in rows]
    if what == "fixed_effects":
        frame = slopes().fixed_effects
        assert rows[1] == ["γ₀₀" if column == "symbol" else cell(column, frame[column][0]) for column in frame.columns]
        assert r"\ensuremath{\gamma}\textsubscript{10}" in text
        assert rows[0][:5] == ["term", "symbol", "level", "estimate", "std error"]
    if what == "side by side":
        notes = [paragraph.text for paragraph in docx.Document(str(tmp_path / "t.docx")).paragraphs]
        assert notes == list(beside().footnotes)
        assert text.count(r"\footnotesize") == len(notes) == 2


def test_tables_of_several_models_have_a_title_for_each(tmp_path: Path) -> None:
    fits = {"null": null(), "slopes": slopes()}
    mlm.write_table(pl.concat(with_model(name, fit.fixed_effects) for name, fit in fits.items()), tmp_path / "t.tex")
    assert [row for row in latex_cells((tmp_path / "t.tex").read_text()) if len(row) == 1] == [["null"], ["slopes"]]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_read_back(name: str, tmp_path: Path) -> None:
    table = pl.DataFrame({"model": [name, name, "m"], "term": [name, "x", name], name: [1.5, -2.0, 0.25]})
    for ending in ("tex", "docx", "csv", "parquet"):
        mlm.write_table(table, tmp_path / f"t.{ending}")
    text = (tmp_path / "t.tex").read_text()
    shown = one_line(name)
    rows = latex_cells(text)
    assert rows[0] == ["term", shown.replace("_", " ")]
    assert rows[1:] == [[shown], [shown, "1.500"], ["x", "-2.000"], ["m"], [shown, "0.2500"]]
    # no row begins with what LaTeX would take for an option of the end of the row before
    assert not re.search(r"\\\\\n[\[*]", text)
    assert word_cells(tmp_path / "t.docx")[2] == [shown, "1.500"]
    # programs get the names as they are
    assert pl.read_csv(tmp_path / "t.csv").rows() == table.rows() or "\n" in name
    assert pl.read_parquet(tmp_path / "t.parquet").equals(table)


def test_no_special_character_is_left_to_latex() -> None:
    text = latex_text("".join(map(chr, range(32, 127))) + "----")
    bare = re.sub(r"\\text[a-z]+\{\}|\\[_&%$#{}]|-\{\}(?=-)", "", text)
    assert not re.search(r"[_&%$#{}~^\\<>|`]|--", bare)
    for name in ("a--b", "τ₁₀,₀₀", "σ²", "".join(GREEK[name] for name in GREEK)):
        assert unescaped(latex_text(name)) == name


def test_a_long_table_goes_over_pages(tmp_path: Path) -> None:
    mlm.write_table(slopes().random_effects, tmp_path / "t.tex")
    text = (tmp_path / "t.tex").read_text()
    assert text.startswith("% \\usepackage{booktabs,longtable}\n\\begin{longtable}{lllr")
    assert text.count("\\endhead") == 1
    assert len(latex_cells(text)) == 1 + slopes().random_effects.height


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("before")
    broken = pl.DataFrame({"a": [[1, 2]]})  # a list is no cell of a CSV file
    with pytest.raises(MlmError):
        mlm.write_table(broken, path)
    assert path.read_text() == "before"
    mlm.write_table(null().fixed_effects, path)
    assert path.read_text().startswith("term,symbol,")
    assert os.listdir(tmp_path) == ["t.csv"]


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (
            "t.pdf",
            "The ending of a file says how the table is written. Got t.pdf; expected one of .tex (latex), .csv (csv), "
            ".parquet (parquet), .docx (word).",
        ),
        (".", ". is a folder, and a table is a file. Name a file in it, such as table.tex."),
        ("", "path is not understood. Got nothing; expected the path of a file."),
        ("file/t.csv", "file for t.csv cannot be created: File exists. Choose another place."),
    ],
)
def test_places_that_are_refused(path: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(MlmError, match=re.escape(sentence)):
        mlm.write_table(null().fixed_effects, path)
    assert os.listdir() == ["file"]


def test_what_is_no_table(tmp_path: Path) -> None:
    sentence = "table is not understood. Got 'effects'; expected a polars DataFrame, such as fit.fixed_effects, or what"
    with pytest.raises(MlmError, match=re.escape(sentence)):
        mlm.write_table("effects", tmp_path / "t.csv")  # type: ignore[arg-type]
    empty = null().fixed_effects.clear()
    with pytest.raises(MlmError, match="The table has no rows, so that there is nothing to print"):
        mlm.write_table(empty, tmp_path / "t.docx")
    mlm.write_table(empty, tmp_path / "t.csv")
    assert pl.read_csv(tmp_path / "t.csv").columns == empty.columns


@pytest.mark.parametrize("models", [{}, {"m": 1}, ["m"], None])
def test_what_are_no_fits(models: object) -> None:
    with pytest.raises(MlmError, match=r"models is not understood\. Got .*; expected fits of mlm\.fit by name, such"):
        mlm.side_by_side(models)  # type: ignore[arg-type]


def test_a_notebook_shows_models_side_by_side() -> None:
    root = ElementTree.fromstring(beside()._repr_html_())
    rows = [["".join(box.itertext()) for box in row] for row in root.iter("tr")]
    assert rows == paper_rows(beside())
    assert [paragraph.text for paragraph in root.iter("p")] == list(beside().footnotes)
    assert str(beside()) == beside().text()
