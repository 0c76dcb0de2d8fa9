"""The Python of docs/sem.md prints what the page says, its pictures are of its models, its YAML is an analysis."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.structural.results.fit import SemFit
from tests.specification.examples import ROOT, blocks, page, printed_by

#: The pictures that are of this page's models alone, and the name that the page has for each.
PICTURES = {
    "sem_path": "path",
    "sem_factor": "factor",
    "sem_slope": "random",
    "sem_moderated": "moderated",
    "sem_centred": "centred",
}


def _lines(text: str) -> list[str]:
    """Lines without the padding that tables end with."""
    return [line.rstrip() for line in text.splitlines()]


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What the page's code leaves behind, each block checked against what the page says it prints."""
    found: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        (_, preparation), *sections = blocks("sem", "python", "text")
        exec(preparation, found)
        assert [language for language, _ in sections] == ["python", "text"] * (len(sections) // 2)
        for (_, code), (_, text) in zip(sections[::2], sections[1::2], strict=True):
            assert _lines(printed_by(code, found)) == _lines(text)
    return found


@pytest.mark.parametrize("picture", PICTURES)
def test_the_page_prints_what_it_says_and_shows_its_models(picture: str, names: dict[str, Any]) -> None:
    fit: SemFit = names[PICTURES[picture]]
    drawn = (ROOT / "docs" / "images" / f"{picture}.svg").read_text(encoding="utf-8")
    assert f"](images/{picture}.svg)" in page("sem")
    answer = html.unescape(re.findall(r'aria-label="([^"]*)"', drawn)[0]).partition("? ")[2]
    assert answer == fit.picture("path").answer
    assert drawn == fit.diagram()


def test_the_yaml_of_the_page_is_an_analysis() -> None:
    ((_, text),) = blocks("sem", "yaml")
    analysis = parse_analysis(
        f"analysis: a\ndata: rows\nlevels: school\nmodels: {{null: y ~ 1 + (1 | school)}}\n{text}"
    )
    assert list(analysis.compiled_sem) == ["latent_contextual", "growth"]


def test_every_picture_of_the_page_is_there() -> None:
    for picture in re.findall(r"\(images/(\w+)\.svg\)", page("sem")):
        assert (ROOT / "docs" / "images" / f"{picture}.svg").exists()
