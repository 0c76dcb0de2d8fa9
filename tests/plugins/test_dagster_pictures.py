"""Pictures among the metadata of a model, and its coefficients as numbers; neither touches the results."""

from __future__ import annotations

import base64
import logging
import re
import sys
from collections.abc import Callable
from xml.etree import ElementTree as Xml

import dagster as dg
import polars as pl
import pytest

from mlm_ops.analyses.file.analysis import Analysis, parse_analysis
from mlm_ops.analyses.store.runs import read_latest
from mlm_ops.errors import MlmError
from mlm_ops.plugins.dagster import Warehouse, pictures

Materialize = Callable[..., dg.ExecuteInProcessResult]
Pupils = Callable[..., pl.DataFrame]
IMAGE = re.compile(r"!\[((?:\\.|[^\]])*)\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)")


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, object]:
    made = [event.materialization for event in result.get_asset_materialization_events()]
    (metadata,) = [each.metadata for each in made if each.asset_key.to_user_string() == asset]
    return {name: value.value for name, value in metadata.items()}


def test_the_model_of_the_report_shows_its_pictures(
    pupils: Pupils, materialize: Materialize, warehouse: Warehouse
) -> None:
    result = materialize(pupils(groups=25))
    assert result.success
    assert "pictures" not in metadata_of(result, "small/models/anova")
    text = str(metadata_of(result, "small/models/slope")["pictures"])
    images = IMAGE.findall(text)
    questions = re.findall(r"^\*\*(.+)\*\*$", text, re.MULTILINE)
    assert questions == ["Which schools depart in level?", "What explains the variance?"]
    assert [alternative for alternative, _ in images] == questions
    assert len(text) <= pictures.MOST_BYTES
    for _, data in images:
        svg = base64.b64decode(data).decode()
        root = Xml.fromstring(svg)
        assert root.get("role") == "img"
        assert "<title" not in svg
        assert "data-u" not in svg
        assert 'fill="#ffffff"' in svg
        assert "var(--" not in svg
    with warehouse.connection() as connection:
        effects = read_latest(connection, "random_effects").filter(model="slope")
    circles = base64.b64decode(images[0][1]).decode().count("<circle")
    # each school, and the two marks of the legend
    # each school, and the two marks of the legend
    assert circles == effects.height + 2


def test_coefficients_are_numbers_by_term(pupils: Pupils, materialize: Materialize, warehouse: Warehouse) -> None:
    metadata = metadata_of(materialize(pupils(groups=25)), "small/models/slope")
    with warehouse.connection() as connection:
        effects = read_latest(connection, "fixed_effects").filter(model="slope")
    estimates = dict(effects.select("term", "estimate").iter_rows())
    assert set(estimates) == {"(Intercept)", "within(x)"}
    assert {name: metadata[f"fixed_{name}"] for name in estimates} == estimates


def test_withheld_results_have_neither(pupils: Pupils, small: Analysis, materialize: Materialize) -> None:
    metadata = metadata_of(
        materialize(pupils(groups=25), small.model_copy(update={"min_publish_n": 100_000})), "small/models/slope"
    )
    assert set(metadata) == {"formula", "dagster/row_count", "summary"}


def test_without_the_extra_there_are_none(
    pupils: Pupils, materialize: Materialize, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with caplog.at_level(logging.WARNING, "mlm_ops"):
        result = materialize(pupils(groups=25))
    assert result.success
    assert "pictures" not in metadata_of(result, "small/models/slope")
    assert caplog.messages == []


class PanicException(BaseException):
    """As packages in Rust raise it."""


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (ValueError("no such mark"), "ValueError: no such mark"),
        (PanicException("no such mark"), "PanicException: no such mark"),
        (MlmError("There is no such mark."), "There is no such mark."),
    ],
)
def test_a_fault_in_drawing_leaves_the_results_alone(
    fault: BaseException,
    reason: str,
    pupils: Pupils,
    materialize: Materialize,
    warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def draw(*_: object, **__: object) -> str:
        raise fault

    monkeypatch.setattr(pictures, "draw_svg", draw)
    with caplog.at_level(logging.WARNING, "mlm_ops"):
        result = materialize(pupils(groups=25))
    assert result.success
    assert warehouse.results.exists()
    assert "pictures" not in metadata_of(result, "small/models/slope")
    assert caplog.messages == [f"The pictures of the model are not drawn: {reason}"]


def test_what_is_too_large_is_left_out(
    pupils: Pupils, materialize: Materialize, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (len(data) for _, data in _images(materialize(pupils(groups=25))))
    monkeypatch.setattr(pictures, "MOST_BYTES", first + second)
    assert [len(data) for _, data in _images(materialize(pupils(groups=25)))] == [first]
    monkeypatch.setattr(pictures, "MOST_BYTES", 100)
    assert "pictures" not in metadata_of(materialize(pupils(groups=25)), "small/models/slope")


def _images(result: dg.ExecuteInProcessResult) -> list[tuple[str, str]]:
    return IMAGE.findall(str(metadata_of(result, "small/models/slope")["pictures"]))


MODELS = "{null: y ~ 1 + (1 | g), slope: y ~ x + (x | g), plain: y ~ x}"


@pytest.mark.parametrize(
    ("keys", "model"),
    [
        ("", "slope"),
        ("compare: [null, plain]", "slope"),
        ("diagnostics: 'null'", "null"),
        ("diagnostics: [slope, 'null'], compare: [null, plain]", "null"),
        ("strategy: build_up, start: 'null', candidates: {fixed: x}", None),
        ("strategy: build_up, start: 'null', candidates: {fixed: x}, diagnostics: slope", "slope"),
    ],
)
def test_which_model_the_report_is_about(keys: str, model: str | None) -> None:
    analysis = parse_analysis(f"{{analysis: one, data: t, levels: g, models: {MODELS}{', ' * bool(keys)}{keys}}}")
    assert pictures.report_model(analysis) == model


def test_a_ladder_shows_those_of_the_model_that_it_selects(pupils: Pupils, materialize: Materialize) -> None:
    text = (
        "{analysis: small, data: main.pupils, levels: school, models: {null: y ~ 1 + (1 | school)}, "
        "strategy: build_up, start: 'null', candidates: {fixed: within(x)}}"
    )
    result = materialize(pupils(groups=25), parse_analysis(text))
    assert result.success
    assert "pictures" not in metadata_of(result, "small/models/null")
    shown = str(metadata_of(result, "small/ladder")["pictures"])
    assert "Which schools depart in level?" in shown
    assert len(IMAGE.findall(shown)) == 2
