"""The Python of docs/course.md prints what the page says, and every analysis and model that it names ships."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from mlm_ops.analyses.file.analysis import read_analysis
from tests.specification.examples import ROOT, blocks, page, printed_by

SHIPPED = ROOT / "pipelines" / "analyses"
NAMED = re.findall(r"`mlm show --analysis (\w+)(?: --model (\w+))?(?: --table (\w+))?`", page("course"))


def _lines(text: str) -> list[str]:
    """Lines without the padding that tables end with."""
    return [line.rstrip() for line in text.splitlines()]


def test_every_section_prints_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    (_, preparation), *sections = blocks("course", "python", "text")
    exec(preparation, names)
    assert [language for language, _ in sections] == ["python", "text"] * (len(sections) // 2)
    for (_, code), (_, text) in zip(sections[::2], sections[1::2], strict=True):
        assert _lines(printed_by(code, names)) == _lines(text)


def test_every_section_is_in_the_shipped_project() -> None:
    analyses = {path.stem: read_analysis(path) for path in SHIPPED.glob("*.yaml")}
    assert {name for name, _, _ in NAMED} == set(analyses)
    for name, model, table in NAMED:
        assert model in {*analyses[name].models, *analyses[name].sem} or table == "ladder_steps"


@pytest.mark.parametrize("picture", re.findall(r"\(images/(\w+)\.svg\)", page("course")))
def test_the_pictures_tell_what_the_page_prints(picture: str) -> None:
    drawn = (ROOT / "docs" / "images" / f"{picture}.svg").read_text(encoding="utf-8")
    answer = html.unescape(re.findall(r'aria-label="([^"]*)"', drawn)[0]).partition("? ")[2]
    assert answer
    assert answer in page("course") or picture == "mediation"
