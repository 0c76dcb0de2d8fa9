"""The asset that writes the report: what it tells of it, and that its failure touches nothing else."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

import dagster as dg
import polars as pl
import pytest

from mlm_ops.analyses.file.analysis import Analysis, parse_analysis
from mlm_ops.errors import MlmError
from mlm_ops.plugins.dagster import Warehouse, build_analysis_assets, pictures

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
Result = dg.ExecuteInProcessResult
Run = Callable[..., Result]


@pytest.fixture
def run(pupils: Callable[..., pl.DataFrame], small: Analysis, warehouse: Warehouse) -> Run:
    """Materialize everything with a report."""

    def execute(
        of: Analysis = small, *, tags: dict[str, str] | None = None, **options: object
    ) -> dg.ExecuteInProcessResult:
        with warehouse.connection() as connection:
            connection.register("rows", pupils(25).with_columns(wave=pl.int_range(pl.len()) % 3))
            connection.execute("create or replace table main.pupils as from rows order by school")
        assets = build_analysis_assets(of, report=True, **options)  # type: ignore[arg-type]
        job = dg.define_asset_job("job", selection=dg.AssetSelection.groups(of.analysis))
        here = dg.Definitions(resources={"warehouse": warehouse}, jobs=[job], executor=dg.in_process_executor)
        whole = dg.Definitions.merge(here, assets).resolve_job_def("job")
        with dg.DagsterInstance.ephemeral() as instance:
            return whole.execute_in_process(instance=instance, raise_on_error=False, run_config=QUIET, tags=tags)

    return execute


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    (materialization,) = [
        event.materialization
        for event in result.get_asset_materialization_events()
        if event.asset_key is not None and event.asset_key.path[-1] == "report"
    ]
    return {name: value.value for name, value in materialization.metadata.items()}


def test_it_comes_after_the_results_where_it_is_asked_for(small: Analysis) -> None:
    def keys(**options: bool) -> set[dg.AssetKey]:
        definitions = build_analysis_assets(small, **options)  # type: ignore[arg-type]
        return {key for asset in definitions.assets or () for key in asset.keys}  # type: ignore[union-attr]

    report = dg.AssetKey(["small", "report"])
    assert report not in keys()
    assert keys(report=True) - keys() == {report}
    resources = dg.Definitions(resources={"warehouse": Warehouse()})
    graph = dg.Definitions.merge(resources, build_analysis_assets(small, report=True)).resolve_asset_graph()
    assert graph.get(report).parent_keys == {dg.AssetKey(["small", "results"])}
    with pytest.raises(MlmError, match=r"^report is not understood\. Got 'yes'; expected True or False\.$"):
        build_analysis_assets(small, report="yes")  # type: ignore[arg-type]


def test_it_writes_the_page_and_says_what_it_holds(
    run: Run, warehouse: Warehouse, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "mlm_ops"):
        result = run()
    assert result.success
    metadata, path = metadata_of(result), warehouse.results.parent / "report" / "small.html"
    page = path.read_text()
    assert metadata["report"] == str(path)
    assert metadata["pictures"] == page.count("<figure") > 3
    assert metadata["bytes"] == path.stat().st_size
    assert isinstance(metadata["seconds"], float)
    lines = str(metadata["in_short"]).splitlines()
    assert 1 <= len(lines) <= 8
    assert all(line.startswith("- ") for line in lines)
    assert "of the variance of y lies between schools" in lines[0]
    assert (
        metadata["summary"] == f"small.html: {round(path.stat().st_size / 1000):,} kB, {metadata['pictures']} pictures"
    )
    assert "missing" not in metadata
    (record,) = [record for record in caplog.records if getattr(record, "event", "") == "report_written"]
    assert (record.analysis, record.path, record.n_bytes) == ("small", str(path), metadata["bytes"])  # type: ignore[attr-defined]
    assert record.n_pictures == metadata["pictures"]  # type: ignore[attr-defined]
    assert record.getMessage().startswith(f"analysis small: report written to {path} (")


@pytest.mark.parametrize("fault", [MlmError("The report cannot be written."), ValueError("no such mark")])
def test_its_failure_leaves_the_results(
    fault: Exception, run: Run, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(pictures, "write_reports", fail)
    result = run()
    assert not result.success
    failed = [event.step_key for event in result.all_events if event.is_step_failure]
    assert failed == ["small__report"]
    assert result.asset_materializations_for_node("small__results")
    assert warehouse.results.exists()
    assert not (warehouse.results.parent / "report").exists()


def test_without_the_extra_it_is_a_page_without_pictures(
    run: Run, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    result = run()
    assert result.success
    metadata = metadata_of(result)
    assert metadata["pictures"] == 0
    assert metadata["missing"] == (
        "Pictures need the package vl-convert-python. Install it with: pip install 'mlm-ops[report]'."
    )
    assert metadata["summary"].endswith(f" kB, 0 pictures. {metadata['missing']}")
    assert "<svg" not in (warehouse.results.parent / "report" / "small.html").read_text()


def test_partitions_that_are_fitted_alone_have_one_page(run: Run, warehouse: Warehouse) -> None:
    waves = parse_analysis(
        "{analysis: waves, data: main.pupils, levels: school, "
        "models: {slope: y ~ x + (1 | school), mean: y ~ 1 + (1 | school)}}"
    )
    keys = dg.StaticPartitionsDefinition(["0", "1", "2"])
    tags = {"dagster/asset_partition_range_start": "0", "dagster/asset_partition_range_end": "2"}
    result = run(waves, tags=tags, partitions_def=keys, fit_by="wave")
    assert result.success
    assert [path.name for path in (warehouse.results.parent / "report").glob("*.html")] == ["waves.html"]
    page = (warehouse.results.parent / "report" / "waves.html").read_text()
    assert "<h1>waves</h1>" in page
    assert "<strong>375</strong> rows" in page
    assert 'id="keys-1"' in page
    assert metadata_of(result)["report"] == str(warehouse.results.parent / "report" / "waves.html")


def test_the_component_has_the_option() -> None:
    from mlm_ops.plugins.dagster import MultilevelAnalysis

    assert MultilevelAnalysis(analysis="a.yaml").report is False
    assert MultilevelAnalysis.get_model_cls().model_validate({"analysis": "a.yaml", "report": True}).report is True
