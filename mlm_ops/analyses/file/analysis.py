"""Read an analysis file (YAML) into an `Analysis`: one set of rows, one scan, a family of comparable models."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError, model_validator

from mlm_ops.analyses.file.keys import (
    LEVEL_KEYS,
    MPLUS_KEY,
    History,
    ModelSpec,
    Names,
    Record,
    SemSpec,
    Text,
    candidate_terms,
    check_names,
    compared_pairs,
    file_options,
    model_specs,
    sem_spec,
    taken_by,
    without_rows,
)
from mlm_ops.analyses.file.questions import SlopeQuestion, check_slopes, contrast_questions, slope_questions
from mlm_ops.analyses.file.strategy import SELECTED, Strategy, build_up, check_keys, parse_rule, tear_down
from mlm_ops.analyses.file.yaml import MOST_CHARACTERS, parse_mapping, sentences
from mlm_ops.analyses.project import ANALYSIS_SUFFIXES
from mlm_ops.errors import AnalysisError, MlmError
from mlm_ops.language import options as allowed
from mlm_ops.language.formula import level_columns
from mlm_ops.language.model import Model
from mlm_ops.language.options import ClusterKind, DfMethod, Estimator, Form, Robust, Steps, StrategyKind
from mlm_ops.language.recentering import candidates
from mlm_ops.language.request import Request, cluster_columns, compile_request
from mlm_ops.language.structures import named_blocks, unknown_factor
from mlm_ops.structural.language.request import SemRequest, sem_request
from mlm_ops.warehouse.argument_checks import checked
from mlm_ops.warehouse.files.reading import FileOptions
from mlm_ops.warehouse.sandbox import Reach, reach_of


class Analysis(Record):
    """An analysis file.

    ``form`` says whether ``data`` are rows, or moments that ``mlm.group_moments`` has made. ``levels`` are grouping
    columns, lowest first; ``compare`` holds pairs (model, reference model). Robust errors go by
    ``cluster``, else by each model's top grouping factor, and in single-level regression by the last of ``levels``.
    ``partition`` is a column by whose values the moments are kept, so that only new and changed ones are read again.
    ``steps`` says what centers the rows in a Dagster project: SQL, Polars, or both, each checked against the other.
    ``diagnostics`` names the models whose influential units and residuals are looked into, ``centering`` those that are
    fitted raw and centered in every way. ``strategy`` says how models
    are chosen: as listed, or by steps from ``start``, of which ``keep`` is the rule. ``sem`` holds two-level
    structural equation models, fitted from the same moments. ``history`` says which runs are kept and what counts as
    drift; groups of fewer than ``min_publish_n`` rows are in no table that is published.
    ``options`` says how a data file is written, where that is not to be found out.
    """

    analysis: str = Field(min_length=1)
    data: str = Field(min_length=1)
    form: Form = "rows"
    levels: Annotated[tuple[str, ...], taken_by(allowed.LEVELS)] = allowed.LEVELS.default
    models: Annotated[dict[str, ModelSpec], BeforeValidator(model_specs)] = Field(min_length=1)
    compare: Annotated[tuple[tuple[str, str], ...], BeforeValidator(compared_pairs)] = ()
    estimator: Annotated[Estimator, taken_by(allowed.ESTIMATOR)] = allowed.ESTIMATOR.default
    df: Annotated[DfMethod, taken_by(allowed.DF)] = allowed.DF.default
    weights: Annotated[str | None, taken_by(allowed.WEIGHTS)] = None
    residual: Annotated[str | None, taken_by(allowed.RESIDUAL)] = None
    covariance: Annotated[dict[str, Any] | None, taken_by(allowed.COVARIANCE)] = None
    robust: Annotated[Robust | None, taken_by(allowed.ROBUST)] = None
    cluster: Annotated[str | None, taken_by(allowed.CLUSTER)] = None
    where: Text | None = None
    partition: Text | None = None
    steps: Annotated[Steps, taken_by(allowed.STEPS)] = allowed.STEPS.default
    description: str | None = None
    strategy: StrategyKind = "a_priori"
    start: Text | None = None
    candidates: Annotated[dict[str, tuple[str, ...]], BeforeValidator(candidate_terms)] = Field(default_factory=dict)
    keep: Text | None = None
    diagnostics: Names = ()
    centering: Names = ()
    simple_slopes: Annotated[dict[str, tuple[SlopeQuestion, ...]], BeforeValidator(slope_questions)] = Field(
        default_factory=dict
    )
    contrasts: Annotated[dict[str, dict[str, dict[str, float]]], BeforeValidator(contrast_questions)] = Field(
        default_factory=dict
    )
    predictions: bool = True
    sem: dict[str, Annotated[SemSpec, BeforeValidator(sem_spec)]] = Field(default_factory=dict)
    history: History = History()
    min_publish_n: int = Field(default=1, ge=1)
    options: Annotated[FileOptions | None, BeforeValidator(file_options)] = None
    _reach: Reach = PrivateAttr(default=Reach())

    _form = model_validator(mode="before")(without_rows)

    @model_validator(mode="after")
    def _strategy_keys(self) -> Analysis:
        check_keys(self.strategy, self.start, self.candidates, self.keep, tuple(self.models))
        return self

    @model_validator(mode="after")
    def _known_models(self) -> Analysis:
        named = {key: list(getattr(self, key)) for key in ("diagnostics", "centering", "simple_slopes", "contrasts")}
        check_names(list(self.models), self.compare, named, self.selected)
        return self

    @property
    def selected(self) -> str | None:
        """What keys call the model that a ladder selects; None without a ladder, and where a model has this name."""
        is_taken = any(name.lower() == SELECTED for name in self.models)
        return None if self.strategy == "a_priori" or is_taken else SELECTED

    @property
    def reach(self) -> Reach:
        """What may be read beside tables and views: no key of the file, but the word of whoever reads the file."""
        return self._reach

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Analysis:
        """Copy the analysis; the copy shares the compiled models unless something that they depend on is updated."""
        other = super().model_copy(update=update, deep=deep)
        if not set(update or ()) <= {"analysis", "data", "where"}:
            for name in ("requests", "compiled_strategy", "compiled_sem", "models_to_scan"):
                vars(other).pop(name, None)
        return other

    def reaching(self, reach: Reach) -> Analysis:
        """The same analysis that may read other files."""
        other = self.model_copy()
        other._reach = reach
        return other

    @property
    def keys(self) -> tuple[str, ...]:
        """Grouping columns that the moments need beyond those of the formulas."""
        columns = (column for request in self.requests.values() for column in request.keys)
        return tuple(dict.fromkeys((*self.level_columns, *columns)))

    @property
    def level_columns(self) -> tuple[str, ...]:
        """Columns of ``levels``, lowest first."""
        return level_columns(self.levels)

    @cached_property
    def requests(self) -> dict[str, Request]:
        """What is asked for by each model, compiled."""
        requests = {}
        some_clustered = any((spec.robust or self.robust) in get_args(ClusterKind) for spec in self.models.values())
        for name, spec in self.models.items():
            robust = spec.robust or self.robust
            # of models with errors of their own kinds, the cluster is for those that have clusters
            has_clusters = robust in get_args(ClusterKind) or not some_clustered
            try:
                requests[name] = compile_request(
                    spec.formula,
                    levels=self.levels if spec.levels is None else spec.levels,
                    estimator=spec.estimator or self.estimator,
                    df=spec.df or self.df,
                    weights=self.weights,
                    residual=spec.residual or self.residual,
                    covariance=spec.covariance,
                    robust=robust,
                    cluster=self.cluster if has_clusters else None,
                    default_covariance=self.covariance,
                )
                check_slopes(requests[name].model, self.simple_slopes.get(name, ()))
                if name in self.centering:
                    candidates(requests[name].model)
            except MlmError as error:
                raise AnalysisError(f"Model {name!r}: {error}") from error
        models = [request.model for request in requests.values()]
        for key in self.covariance or {}:
            if not any(named_blocks(model, key) for model in models):
                raise AnalysisError(str(unknown_factor(key, models)))
        return requests

    @property
    def compiled_models(self) -> dict[str, Model]:
        """Every model, compiled."""
        return {name: request.model for name, request in self.requests.items()}

    @cached_property
    def compiled_strategy(self) -> Strategy | None:
        """The strategy, compiled; None where the models are fitted as listed."""
        if self.strategy == "a_priori" or self.start is None:
            return None
        rule, model = parse_rule(self.keep or "p < 0.05"), self.compiled_models[self.start]
        if self.strategy == "tear_down":
            return tear_down(self.start, model, rule)
        return build_up(self.start, model, self.candidates, rule)

    @cached_property
    def compiled_sem(self) -> dict[str, SemRequest]:
        """What is asked of every structural equation model."""
        models = {}
        for name, spec in self.sem.items():
            cluster = cluster_columns(spec.cluster) or (self.level_columns if len(self.levels) == 1 else ())
            if not cluster:
                raise AnalysisError(
                    f"Model {name!r} of sem has no clusters. Got {len(self.levels)} levels; write cluster: with the "
                    "column of the clusters."
                )
            try:
                request = sem_request(
                    spec.model,
                    tuple(cluster),
                    robust=spec.robust,
                    slopes=spec.slopes,
                    missing=spec.missing,
                    group=spec.group,
                    group_equal=spec.group_equal,
                    group_partial=spec.group_partial,
                )
                _ = request.columns_table
            except MlmError as error:
                raise AnalysisError(f"Model {name!r} of sem: {error}") from error
            models[name] = request
        return models

    @cached_property
    def sem_with_missing(self) -> tuple[Model, ...]:
        """Models of the columns of structural models that take incomplete rows: each is scanned by itself."""
        return tuple(request.columns_model for request in self.compiled_sem.values() if request.missing == "ml")

    @cached_property
    def models_to_scan(self) -> tuple[Model, ...]:
        """Models that the moments have to serve: those of the file, and one with every candidate of the strategy."""
        listed = tuple(self.compiled_models.values())
        complete = (request for request in self.compiled_sem.values() if request.missing == "listwise")
        listed += tuple(request.columns_model for request in complete)
        if self.compiled_strategy is None or self.start is None:
            return listed
        largest = self.compiled_models[self.start]
        for candidate in self.compiled_strategy.candidates if self.compiled_strategy.kind == "build_up" else ():
            largest = candidate.added_to(largest)
        return (*listed, largest)


@checked(folder=allowed.FOLDER, allow_files=allowed.ALLOW_FILES)
def read_analyses(folder: str | Path, *, allow_files: bool = False) -> list[Analysis]:
    """Read every analysis file of a folder (.yaml, .yml), in the order of their names; `read_analysis` says how.

    Raises
    ------
    AnalysisError
        A sentence a file that is none, or that has the name of another; all of them together.
    """
    folder = Path(folder)
    try:
        paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in ANALYSIS_SUFFIXES)
    except OSError as error:
        raise AnalysisError(
            f"Cannot read the folder of analysis files {folder}: {error.strerror or 'unreadable'}."
        ) from error
    found: dict[str, Path] = {}
    analyses, faults = [], []
    for path in paths:
        shown = path.relative_to(folder.parent)
        try:
            analysis = read_analysis(path, shown, allow_files=allow_files)
        except AnalysisError as error:
            faults.append(str(error))
            continue
        # tables are named for the analysis, and DuckDB does not tell letter case apart
        first = found.setdefault(analysis.analysis.lower(), shown)
        if first != shown:
            faults.append(f"{first} and {shown} are both named {analysis.analysis!r}; rename one.")
        analyses.append(analysis)
    if faults:
        raise AnalysisError("\n".join(faults))
    return analyses


@checked(path=allowed.PATH, shown=allowed.SHOWN, allow_files=allowed.ALLOW_FILES)
def read_analysis(path: str | Path, shown: str | Path | None = None, *, allow_files: bool = False) -> Analysis:
    """Read and check an analysis file; its formulas are parsed, so that a fault shows before any query.

    Parameters
    ----------
    path
        The file.
    shown
        How messages name it; by default as `path`.
    allow_files
        Whether its ``data`` and ``where`` may read whatever DuckDB can. Otherwise these are tables and views, and data
        files of the project that the file is in; outside of a project, of its own folder.

    Raises
    ------
    AnalysisError
        One sentence that names the file, every fault, and what is allowed.
    """
    path = Path(path)
    shown = shown or path
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MOST_CHARACTERS + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is no UTF-8 text" if isinstance(error, UnicodeDecodeError) else (error.strerror or "unreadable")
        raise AnalysisError(f"Cannot read the analysis file {shown}: {reason}.") from error
    try:
        analysis = parse_analysis(text)
    except AnalysisError as error:
        raise AnalysisError(f"{shown}: {error}") from error
    return analysis.reaching(reach_of(path, everything=allow_files))


@checked(text=allowed.YAML)
def parse_analysis(text: str) -> Analysis:
    """Read and check the text of an analysis file; it may read tables and views alone.

    Raises
    ------
    AnalysisError
        A key, a formula or a combination of options that is refused, in one sentence for each fault.
    """
    content = parse_mapping(text)
    try:
        analysis = Analysis.model_validate(content)
    except ValidationError as error:
        keys = {
            "": list(Analysis.model_fields),
            "models": [*ModelSpec.model_fields, *LEVEL_KEYS],
            "sem": [*SemSpec.model_fields, MPLUS_KEY],
        }
        raise AnalysisError(sentences(error, keys)) from error
    # compiled here, so that a fault in a formula or its options shows before any query
    _ = analysis.models_to_scan
    return analysis
