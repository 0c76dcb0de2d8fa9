"""The page of an analysis: whole, safe whatever names there are, the same bytes each time, nothing that is withheld."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.analyses.store.latest import read_latest_results
from mlm_ops.errors import MlmError
from mlm_ops.reports.page.answers import answers
from mlm_ops.reports.page.checks import checks
from mlm_ops.reports.page.content import page_of
from mlm_ops.reports.page.markup import equations
from mlm_ops.reports.page.places import file_names
from mlm_ops.reports.page.sections import SECTIONS, main_model
from mlm_ops.reports.pictures import PICTURES
from mlm_ops.reports.pictures.words import figure, percent, shown
from mlm_ops.results.words import count, p_value, visible
from mlm_ops.structural.results.tables import sem_tables
from tests.reports.pages import HOSTILE, hostile, parsed, policy_hash
from tests.reports.stores import CASES, HSB, Store, write_store
from tests.structural.cases import data

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tables(hsb: Store) -> dict[str, pl.DataFrame]:
    return read_latest_results(hsb.path)


@pytest.fixture(scope="module")
def html(tables) -> str:
    return page_of(tables).html


def test_steps_of_invariance_and_the_place_of_scores_are_on_the_page(tables):
    fit = mlm.sem("cfa: f =~ y1 + y2 + y3", data("demo_twolevel"), cluster="cluster")
    structural = {"runs": tables["runs"]} | sem_tables("factors", fit)
    html = page_of(structural).html
    steps = html.split("<h3>Invariance across levels</h3>")[1].split("</table>")[0]
    assert re.findall("configural|metric|scalar", steps) == ["configural", "metric", "scalar"]
    assert "Variances of zero are on their bound: p of the scalar step is too large." in html
    place = "The table sem_scores has the values of the latent variables of level 2 in each cluster."
    assert place in html
    assert place not in page_of(structural | {"sem_scores": structural["sem_scores"].clear()}).html


def test_the_largest_modification_indices_of_each_model_are_on_the_page(tables):
    fit = mlm.sem("cfa: f =~ y1 + y2 + y3 + y4; g =~ y5 + y6 + x1", data("demo_twolevel"), cluster="cluster")
    both = [sem_tables(name, fit, with_score_tests=True)["sem_score_tests"] for name in ("one", "other")]
    html = page_of({"runs": tables["runs"]} | sem_tables("one", fit) | {"sem_score_tests": pl.concat(both)}).html
    shown = html.split("<h3>Largest modification indices</h3>")[1].split("</table>")[0]
    assert shown.count("<tr>") == 1 + 2 * 10
    assert "Modification indices explore: of many some are large by chance" in html


def test_every_picture_has_a_place():
    placed = [key for section in SECTIONS for key in section.pictures]
    assert len(placed) == len(set(placed))
    assert set(PICTURES) <= set(placed)


def test_the_page_is_whole(html):
    page = parsed(html)
    assert page.tags["h1"] == page.tags["main"] == page.tags["nav"] == page.tags["head"] == 1
    assert ("html", "lang", "en") in page.attributes
    assert page.headings[:2] == ["h1", "h2"]
    assert "h4" not in page.headings
    assert len(page.ids) == len(set(page.ids))
    links = [value[1:] for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    assert set(links) <= set(page.ids)
    order = ["short", "data", "models", "effects", "units", "holds", "latent", "made", "notes"]
    assert [name for name in page.ids if name in order] == order
    assert page.tags["svg"] == page.tags["figure"] == len(page.values("viewbox"))
    assert page.tags["figure"] >= 20
    assert {"Equations of regression", "Equations of latent_contextual"} <= set(page.values("aria-label"))
    # seven mixed models and a structural one
    assert page.tags["math"] == 8
    assert len(html.encode()) <= 700_000


def test_nothing_is_allowed_but_its_own_style_and_script(html):
    page = parsed(html)
    (policy,) = [value for value in page.values("content") if "default-src" in value]
    assert policy == (
        f"default-src 'none'; style-src {policy_hash(page.within['style'])}; "
        f"script-src {policy_hash(page.within['script'])}; img-src data:; base-uri 'none'; form-action 'none'"
    )
    assert page.tags["style"] == page.tags["script"] == 1
    assert page.tags["img"] == page.tags["link"] == page.tags["iframe"] == page.tags["object"] == 0
    assert not [name for _, name, _ in page.attributes if name == "style" or name.startswith("on")]
    assert not [value for value in page.values("href") if not value.startswith("#")]
    assert not page.values("src")
    assert "://" not in re.sub(r'xmlns="http://www\.w3\.org/[^"]*"', "", html)
    assert len(page.within["script"]) <= 2000


@pytest.mark.parametrize("case", ["three_level", "crossed", "weighted", "robust", "structural"])
def test_each_kind_of_analysis_has_a_page(case, tmp_path_factory):
    store = write_store(tmp_path_factory.mktemp(case), *CASES[case])
    tables = read_latest_results(store.path)
    page = page_of(tables)
    found = parsed(page.html)
    assert found.tags["svg"] == found.tags["figure"] == len(page.drawings)
    assert len(found.ids) == len(set(found.ids))
    assert page.summary.answers
    assert all(sentence.endswith(".") for sentence in page.summary.answers)
    # no section is there without anything in it
    assert ("units" in found.ids) is bool({"caterpillar-1", "unit_lines-1"} & set(found.ids))


def test_what_the_tables_do_not_have_is_absent(tables):
    names = ("runs", "models", "fit_statistics", "fixed_effects", "variance_components")
    regression = {name: frame for name in names if not (frame := tables[name]).is_empty()}
    regression = {
        name: frame.filter(pl.col("model") == "regression") if "model" in frame.columns else frame
        for name, frame in regression.items()
    }
    page = page_of(regression)
    assert [name for name in parsed(page.html).ids if name in {s.key for s in SECTIONS}] == ["models"]
    moments_only = page_of(
        {"runs": tables["runs"], "groups": tables["groups"], "decomposition": tables["decomposition"]}
    )
    assert [name for name in parsed(moments_only.html).ids if name in {s.key for s in SECTIONS}] == ["data"]
    assert parsed(page_of({"runs": tables["runs"]}).html).tags["figure"] == 0


def test_names_of_rows_break_at_brackets_and_colons_on_a_phone(html):
    rows = re.findall(r'<th scope="row">(.*?)</th>', html)
    assert "within<wbr>(ses):<wbr>sector<wbr>[Public]" in rows
    assert "(Intercept)" in rows


@pytest.mark.parametrize("first", range(0, len(HOSTILE), 8))
def test_names_are_names(tables, first):
    strange = hostile(tables, first)
    page = parsed(page_of(strange).html)
    assert page.tags["script"] == page.tags["style"] == page.tags["h1"] == 1
    assert page.tags["img"] == page.tags["iframe"] == 0
    assert not [name for _, name, _ in page.attributes if name == "style" or name.startswith("on")]
    assert len(page.ids) == len(set(page.ids))
    # ids and links are of our own words
    assert not [
        value for value in (*page.ids, *page.values("href")) if not re.fullmatch(r"#?[a-z_]+[-a-z0-9_]*", value)
    ]
    text = re.sub(r"\s+", " ", page.text + " ".join(page.values("value")))
    for name in HOSTILE:
        assert shown(name) in text, name
    assert not [character for character in page.text if character in "\x1b\u202e"]


def test_a_page_is_the_same_bytes_whatever_the_order_of_rows(hsb, html):
    code = (
        "import hashlib, sys\nfrom pathlib import Path\n"
        "from mlm_ops.analyses.store.latest import read_latest_results\n"
        "from mlm_ops.reports.page.content import page_of\n"
        "tables = read_latest_results(Path(sys.argv[1]))\n"
        "tables = {n: f.sample(fraction=1.0, shuffle=True, seed=int(sys.argv[2])) for n, f in tables.items()}\n"
        "print(hashlib.sha256(page_of(tables).html.encode()).hexdigest())\n"
    )
    sums = {hashlib.sha256(html.encode()).hexdigest()}
    for seed, threads in ((1, "1"), (2, "2")):
        environment = {**os.environ, "PYTHONHASHSEED": str(seed), "POLARS_MAX_THREADS": threads}
        command = [sys.executable, "-c", code, str(hsb.path), str(seed)]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
        sums.add(done.stdout.strip())
    assert len(sums) == 1


def numbers(tables: dict[str, pl.DataFrame]) -> set[str]:
    """Every number of the tables, in each way that a sentence may write it."""
    texts = set()
    for frame in tables.values():
        for column in frame.columns:
            for value in frame[column].drop_nulls() if frame.schema[column].is_numeric() else ():
                texts |= {figure(value), figure(abs(value)), percent(value), count(round(value)), p_value(value)}
    return {text.replace("<", "") for text in texts}


@pytest.mark.parametrize("case", ["hsb", "three_level", "weighted", "robust", "structural"])
def test_every_number_of_a_sentence_is_in_the_tables(case, tmp_path_factory, hsb):
    store = hsb if case == "hsb" else write_store(tmp_path_factory.mktemp(case), *CASES[case])
    tables = read_latest_results(store.path)
    known = numbers(tables)
    names = {shown(n) for f in tables.values() for c in ("model", "term") if c in f.columns for n in f[c].drop_nulls()}
    for sentence in (*answers(tables, main_model(tables)), *(c.text for c in checks(tables, main_model(tables)))):
        text = sentence
        for name in sorted(names, key=len, reverse=True):
            text = text.replace(name, "")
        text = re.sub(
            r"95% interval|differ by 1 in|each 1 of|correlation of 1|normal: 0 and 3|normal: 3|level \d|p < 0\.05|"
            r"below p = 0\.01|more than 0\.5 off|ratio of 1\.25|beyond 5%",
            "",
            text,
        )
        text = re.sub(
            r"(\d+) of (\d+) models|\d+ models|of the \d+|none of \d+|\d+ of \d+|\d+ (further )?coeff", "", text
        )
        found = re.findall(r"−?\d[\d,]*(?:\.\d+)?%?", text)
        assert [number for number in found if number.rstrip(",") not in known] == [], sentence


def test_the_sentences_of_the_shipped_analysis(tables):
    assert answers(tables, main_model(tables)) == [
        "In “anova”, 18% of the variance of mathach lies between schools (REML, 95% interval 15% to 22%); for a mean, "
        "the rows are worth about 758 independent ones.",
        "In the model “slopes_as_outcomes”, predictors account for 18% of the model's total variance of mathach (5% "
        "within groups, 13% between groups); each of its effects holds the other predictors constant.",
        "In “slopes_as_outcomes”, rows of one school that differ by 1 in ses differ by 1.30 in mathach (95% interval "
        "0.961 to 1.64), p < 0.001, and means of schools by 5.33 (95% interval 4.60 to 6.06), p < 0.001, where its "
        "moderators are zero or at their reference: the contextual effect is 4.03 (95% interval 3.22 to 4.84), "
        "p < 0.001; 4.35 without the sampling error of the means, if these represent a property of the schools.",
        "In “slopes_as_outcomes”, the slope of within(ses) is higher by 1.64 (95% interval 1.17 to 2.12) in "
        "sector[Public], p < 0.001.",
        "In “slopes_as_outcomes”, sector[Public] and its reference differ by −1.23 in mathach (95% interval −1.83 to "
        "−0.621), p < 0.001, where its moderators are zero or at their reference.",
        "In “slopes_as_outcomes”, the slope of within(ses) is higher by 1.04 (95% interval 0.449 to 1.63) for each 1 "
        "of between(ses), p < 0.001.",
        "In “latent_contextual”, with latent means, “contextual” is 3.90 (95% interval 3.12 to 4.69), p < 0.001.",
        "“random_slope” fits better than “rancova”, which has fewer random effects: likelihood ratio 9.76, p = 0.005 "
        "(of a mixture of χ² distributions).",
    ]


def test_flagged_checks_say_what_was_found(tables):
    flagged = [check.text for check in checks(tables, main_model(tables)) if check.flagged]
    assert flagged == [
        "residuals depart from a normal distribution: skewness −0.132, kurtosis 2.48 (normal: 0 and 3), p < 0.001",
        "residual variances of schools differ: standard deviations by 8% beyond chance, χ² = 246, 159 df, p < 0.001",
    ]


def test_no_sentence_claims_a_cause_or_gives_a_verdict(html):
    forbidden = (
        r"effect on|leads to|improves|because|\bimportant|\blarge\b|\bsmall\b|surprising|no effect|\bbest\b|\bworst\b"
    )
    page = parsed(html)
    short = page.text.partition("In short")[2].partition("Find a")[0]
    assert re.findall(forbidden, short) == []


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    """The shipped rows with names of schools that are found in no number."""
    path = tmp_path_factory.mktemp("labelled") / "rows.csv"
    rows = pl.read_csv(CASES["hsb"][0]).with_columns(pl.format("Saint {} School", pl.col("school")).alias("school"))
    rows.write_csv(path)
    return path


def test_withheld_units_are_nowhere(labelled, tmp_path_factory):
    store = write_store(tmp_path_factory.mktemp("private"), labelled, f"{HSB}\nmin_publish_n: 30\n")
    page = page_of(read_latest_results(store.path))
    sizes = pl.read_csv(labelled).group_by("school").len()
    small = set(sizes.filter(pl.col("len") < 30)["school"])
    assert len(small) == 22
    assert {name for name in sizes["school"] if name in page.html} <= set(sizes["school"]) - small
    assert "min_publish_n: 22 of 160 groups of school have fewer than 30 rows" in parsed(page.html).text


def test_units_are_numbered_where_they_are_not_to_be_named(labelled, tmp_path_factory):
    store = write_store(tmp_path_factory.mktemp("named"), labelled, HSB)
    tables = read_latest_results(store.path)
    names = set(pl.read_csv(labelled)["school"])
    html = page_of(tables).html
    assert {name for name in names if name in html} == names
    page = page_of(tables, unit_names=False)
    assert "Saint" not in page.html
    assert parsed(page.html).tags["option"] == 160


def test_stored_equations_that_are_more_than_mathml_are_left_out():
    assert equations("<math><mi>x</mi></math>") == "<math><mi>x</mi></math>"
    for text in ("<math><script>1</script></math>", '<math onclick="1"/>', '<math href="#"/>', "<math>", "", "a < b"):
        assert equations(text) == ""


def test_files_of_analyses_are_safe_and_different():
    names = ["hsb", "HSB", "../../etc", "index", "a b", "a-b", "…", "x" * 300]
    assert file_names(names) == {
        "hsb": "hsb.html",
        "HSB": "HSB-2.html",
        "../../etc": "etc.html",
        "index": "index-2.html",
        "a b": "a-b.html",
        "a-b": "a-b-2.html",
        "…": "unnamed.html",
        "x" * 300: f"{'x' * 80}.html",
    }


def test_the_model_that_is_asked_for_is_shown(tables):
    page = page_of(tables, "random_slope")
    ids = parsed(page.html).ids
    assert "caterpillar-2" in ids
    # it has no diagnostics, which are not shown of another model then
    assert not {"qq_rows-1", "binned-1", "influence-1"} & set(ids)
    assert "In the model “random_slope”, predictors account for" in visible(page.html)


def test_an_unknown_model_is_named_with_the_nearest(hsb, tmp_path):
    import mlm_ops as mlm

    with pytest.raises(MlmError) as error:
        mlm.report(hsb.path, tmp_path / "x.html", model="anowa")
    assert str(error.value) == (
        "There are no results of the model anowa. Did you mean 'anova'? There are anova, means_as_outcomes, rancova, "
        "random_slope, regression, slopes_as_outcomes, within_between."
    )
    assert list(tmp_path.iterdir()) == []
