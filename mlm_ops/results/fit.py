"""Draw up tables, tests, intervals, predictions and equations of a fit: the `Fit` that `mlm_ops.fit` returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

from mlm_ops.errors import DataError, MlmError
from mlm_ops.language import options
from mlm_ops.language.option_values import choice
from mlm_ops.language.options import EquationForm, EquationFormat, IntervalMethod, PredictionKind
from mlm_ops.results import tables
from mlm_ops.results.equations import estimates_by_symbol, write_equations
from mlm_ops.results.equations.writers import symbol_in_unicode
from mlm_ops.results.notes import notes_of
from mlm_ops.results.numpy_warnings import quiet_class
from mlm_ops.results.record import FitRecord
from mlm_ops.warehouse.argument_checks import checked
from mlm_ops.warehouse.files.read import plan_file
from mlm_ops.warehouse.relation import named_relation
from mlm_ops.warehouse.source import is_path, open_source

if TYPE_CHECKING:
    import duckdb
    import polars as pl

    from mlm_ops import reports
    from mlm_ops.inference.effect_sizes.interactions import At
    from mlm_ops.inference.fixed.contrasts import Contrasts, Hypothesis

_FORM = replace(
    choice("form", get_args(EquationForm), "Unknown form of equations."),
    expected=f"one of {', '.join(get_args(EquationForm))} (LaTeX is format='latex')",
)
_FORMAT = choice("format", get_args(EquationFormat), "Unknown format of equations.")
_METHOD = choice("method", get_args(IntervalMethod))
_KIND = choice("kind", get_args(PredictionKind))
#: Pictures of slopes that moderators change.
_OF_PRODUCTS = ("simple_slopes", "johnson_neyman")
_GIVE_ROWS = "It shows residuals of rows, which a fit does not hold: give the fit's rows as data."
_OF_ANALYSES = "It shows several models, or several runs: mlm report draws it of an analysis."
#: What to do where a fit has not a picture.
_PICTURE_HINTS = {
    **dict.fromkeys(("qq_rows", "binned"), _GIVE_ROWS),
    **dict.fromkeys(("steps", "ladder_steps", "history", "keys"), _OF_ANALYSES),
    "path": "It shows structural equation models, which mlm.sem fits.",
    **dict.fromkeys(_OF_PRODUCTS, "It shows products of two predictors: give the formula one, such as x:z."),
}


@quiet_class
@dataclass(frozen=True, repr=False)
class Fit(FitRecord):
    """A fitted multilevel model: the results that `FitRecord` holds, and a method for each table and test.

    What a method alone needs is imported in it, so that a first fit does not wait for exports and predictions.
    """

    @property
    def fixed_effects(self) -> pl.DataFrame:
        """One row per fixed effect."""
        return tables.fixed_effects(self)

    @property
    def variance_components(self) -> pl.DataFrame:
        """One row per element of each T, and the residual variance."""
        return tables.variance_components(self)

    @property
    def random_effects(self) -> pl.DataFrame:
        """One row per unit and random effect."""
        return tables.random_effects(self)

    @property
    def fit_statistics(self) -> pl.DataFrame:
        """One row: sizes, log-likelihood, deviance, AIC, BIC, ICC, and how the search ended."""
        return tables.fit_statistics(self)

    @property
    def notes(self) -> list[str]:
        """What a reader of the numbers must know."""
        return notes_of(self)

    @checked(contrasts=options.COEFFICIENTS)
    def test(self, contrasts: Hypothesis) -> pl.DataFrame:
        """F test that several coefficients, or several combinations of them, are all zero.

        Parameters
        ----------
        contrasts
            Names of coefficients, or of formula terms for all coefficients that belong to them (``"sector"`` for every
            ``sector[…]``); or a matrix with a row for each combination and a column for each fixed effect.

        Returns
        -------
        polars.DataFrame
            One row: statistic, df1, df2, p_value, by the fit's df method; df2 is null for a chi-square test, and all
            but df1 where the data do not determine a combination.
        """
        return tables.contrast_test(self, contrasts)

    @checked(reference=options.REFERENCE)
    def r_squared(self, reference: Fit | None = None) -> pl.DataFrame:
        """Explained variance, one row per measure; with a reference, how each differs from that fit's.

        Raises
        ------
        MlmError
            The reference is a model of another outcome, or of other rows.
        """
        if reference is None:
            return tables.r_squared(self)
        return tables.r_squared_changes(self, reference, reference.model.text)

    @checked(larger=options.LARGER_FIT)
    def compare(self, larger: Fit) -> pl.DataFrame:
        """Likelihood ratio test of this model against a larger one that it is a restriction of.

        REML likelihoods compare among models of one fixed part; others are fitted again by ML: see ``estimator``.

        Returns
        -------
        polars.DataFrame
            One row, as of the table ``comparisons``: statistic, df, p_value, p_value_mixture (where one variance is
            tested), delta_aic, delta_bic, estimator, note. Where this model is no restriction of the other, the note
            says so, and the criteria are what remains.

        Raises
        ------
        MlmError
            The other is a model of another outcome, or of other rows.
        """
        from mlm_ops.results.comparing import compare_records

        estimator, comparison = compare_records(larger, self)
        return tables.comparisons([(larger.model.text, self.model.text, estimator, comparison)])

    def decomposition(self) -> pl.DataFrame:
        """One row per variable and grouping factor: variance within and between, ICC, reliability of means."""
        return tables.decomposition([self.model], self.moments)

    def groups(self) -> pl.DataFrame:
        """One row per grouping factor, unit and numeric variable: rows, mean and standard deviation in the unit."""
        return tables.groups([self.model], self.moments)

    def unit_lines(self) -> pl.DataFrame:
        """One row per unit of the lowest grouping factor and term: the unit's line, and its own least squares."""
        return tables.unit_lines(self)

    def icc(self) -> pl.DataFrame:
        """One row per grouping factor: intraclass correlation with its interval, design effect, reliability."""
        return tables.icc(self)

    def standard_errors(self) -> pl.DataFrame:
        """One row per fixed effect: its error here, by least squares, and of least squares robust to clusters."""
        return tables.standard_errors(self)

    @checked(connection=options.CONNECTION)
    def diagnostics(self, data: Any = None, connection: duckdb.DuckDBPyConnection | None = None) -> pl.DataFrame:
        """One row per finding: influential units (refitted without them), outliers, normality, equal variances.

        Parameters
        ----------
        data
            The fit's rows, as `fit` takes them: then also quantiles of the residuals and their means in bins of each
            predictor, by one more query.
        """
        return tables.diagnostics(self, None if data is None else open_source(data, connection))

    def contextual_effects(self) -> pl.DataFrame:
        """One row per variable beside its group mean: the difference of their effects, also corrected for error."""
        return tables.contextual_effects(self)

    def centering(self) -> pl.DataFrame:
        """One row per number of the model raw, and centered at the grand mean and at group means, fitted anew.

        Column ``equal_to`` names the versions in which the number is equal whatever the data, ``explanation`` says why.

        Raises
        ------
        MlmError
            Nothing in the model can be recentered.
        """
        return tables.centering(self)

    @checked(slope=options.SLOPE, at=options.AT)
    def simple_slopes(self, slope: str, at: At) -> pl.DataFrame:
        """The slope of a predictor, and the outcome where it is zero, at values of its moderators.

        Parameters
        ----------
        at
            A moderator, or several; or a mapping of moderators to values. By default the levels of a factor, 0 and 1,
            or the mean and one standard deviation around it. All other variables are at their means.
        """
        return tables.simple_slopes(self, slope, at)

    @checked(slope=options.SLOPE, at=options.AT)
    def curves(self, slope: str, at: At) -> pl.DataFrame:
        """The outcome along a predictor at values of its moderators, and the slope along the moderator.

        Arguments as `simple_slopes` takes them. One row per point: 21 within two standard deviations of the predictor's
        mean (0 and 1 where it has no other values), 41 within two and a half of the moderator's, where that is a number
        and the only one.
        """
        return tables.curves(self, slope, at)

    @checked(slope=options.SLOPE, moderator=options.MODERATOR, level=options.LEVEL)
    def johnson_neyman(self, slope: str, moderator: str, level: float = 0.95) -> pl.DataFrame:
        """One row per region of the moderator in which the slope differs from zero, or does not."""
        return tables.johnson_neyman(self, slope, moderator, level)

    @checked(contrasts=options.CONTRAST_WEIGHTS)
    def contrasts(self, contrasts: Contrasts) -> pl.DataFrame:
        """T tests of combinations of coefficients, ``{name: {coefficient: weight}}``, adjusted by Holm's method."""
        return tables.contrasts(self, contrasts)

    @checked(form=_FORM, format=_FORMAT, estimates=options.ESTIMATES)
    def equations(
        self, form: EquationForm = "levels", format: EquationFormat = "text", *, estimates: bool = False
    ) -> str:
        """The model as the textbook prints it.

        Parameters
        ----------
        form
            ``"levels"``: an equation for every coefficient; ``"reduced"``: one equation; ``"matrix"``.
        format
            ``"text"`` (ASCII), ``"unicode"``, ``"latex"`` (an ``align*`` environment), ``"markdown"`` or ``"mathml"``
            (MathML Core, a ``math`` element for web pages).
        estimates
            Whether estimates stand in the place of the parameters.
        """
        return write_equations(self.equation_structure, form, format, estimates_by_symbol(self) if estimates else {})

    def to_levels(self) -> str:
        """The model as level equations, as an analysis file takes them.

        Raises
        ------
        MlmError
            Its grouping factors cross.
        """
        from mlm_ops.results.equations.levels import level_equations

        return level_equations(self).yaml

    def to_lme4(self) -> str:
        """The same model as R code: lme4's, or nlme's where lme4 has no word for it, with the columns it derives.

        Raises
        ------
        MlmError
            Neither has the model.
        """
        from mlm_ops.results.export.facts import facts_of
        from mlm_ops.results.export.lme4 import r_code

        return r_code(facts_of(self))

    def to_mplus(self) -> str:
        """The same model as Mplus input, with a table of its short names.

        Raises
        ------
        MlmError
            Mplus' maximum likelihood does not have it.
        """
        from mlm_ops.results.export.facts import facts_of
        from mlm_ops.results.export.mplus import mplus_input

        return mplus_input(facts_of(self))

    @checked(method=_METHOD, level=options.LEVEL, seed=options.SEED, samples=options.SAMPLES)
    def intervals(
        self,
        method: IntervalMethod = "wald",
        level: float = 0.95,
        *,
        seed: int | None = options.RANDOM_SEED,
        samples: int = 500,
    ) -> pl.DataFrame:
        """Intervals of all parameters: standard deviations, correlations, sigma, and fixed effects as they are.

        Parameters
        ----------
        method
            ``"wald"``; ``"profile"`` (of the ML likelihood, as lme4's confint); ``"bootstrap"`` (parametric, limits by
            percentiles) or ``"bootstrap-basic"``.
        seed, samples
            Of the bootstrap: equal seeds give equal limits, None takes a new one.
        """
        return tables.intervals(self, method, level, samples, seed)

    @checked(kind=_KIND, connection=options.CONNECTION)
    def predict(
        self, data: Any, kind: PredictionKind = "conditional", connection: duckdb.DuckDBPyConnection | None = None
    ) -> pl.DataFrame:
        """New rows (as `fit` takes data) with a column ``prediction``, null where a value is missing.

        The numbers are those of `prediction_sql`: null too for a level of a factor that the fit has not seen.
        ``within()`` and ``between()`` take the fitted means of a known group, the mean of its new rows for another, but
        for means over units (``over=``), which a new group has not.

        Parameters
        ----------
        kind
            ``"marginal"``: the fixed part, and its ``std_error``, robust or by Kenward and Roger where the fit's are.
            ``"conditional"``: with the effects of the row's groups, which are zero for a group that the fit has not
            seen, and ``new_group`` says so.
        """
        from mlm_ops.inference.prediction.rows import predict
        from mlm_ops.warehouse.frames import read_rows

        rows = read_rows(data, connection)
        return predict(self.model, self.estimate, self.block_effects, self.method, self.moments, rows, kind)

    @checked(
        key=options.PICTURE,
        term=options.TERM,
        group=options.ONE_GROUP,
        pairwise=options.PAIRWISE,
        at=options.AT.or_none(),
        connection=options.CONNECTION,
    )
    def picture(
        self,
        key: str,
        *,
        term: str | None = None,
        group: str | None = None,
        pairwise: bool = False,
        at: At | None = None,
        data: Any = None,
        connection: duckdb.DuckDBPyConnection | None = None,
    ) -> reports.Picture:
        """A picture of the fit's tables, as a report has it: ``.svg() .png() .save()``, and shown in a notebook.

        Parameters
        ----------
        key
            Which: ``"caterpillar"``, ``"two_slopes"``, ``"shrinkage"``, and others, which the message for an unknown
            one lists.
        term, group
            Of which term and grouping factor, where there is a picture for each; by default the first.
        pairwise
            Whether the intervals of ``"caterpillar"`` are for looking at pairs of units: ±1.39 standard errors.
        at
            Of ``"simple_slopes"`` and ``"johnson_neyman"``: moderators of the slope of `term`, as `simple_slopes` takes
            them; by default the products of the formula.
        data, connection
            The fit's rows, as `diagnostics` takes them, for ``"qq_rows"`` and ``"binned"``.

        Raises
        ------
        MlmError
            There is no such picture, or none of this fit or term; the message lists those that there are.
        """
        from mlm_ops import reports

        if at is not None and (key not in _OF_PRODUCTS or term is None):
            raise MlmError(
                f"at is an option of the pictures {' and '.join(_OF_PRODUCTS)}, beside a term, the slope. Got at for "
                f"{key} {'without a term' if term is None else f'of {term}'}."
            )
        slopes: Sequence[tuple[str, At]] = tables.slopes_in_products(self, term)
        if at is not None:
            slopes = [(str(term), at)]
        rows = None if data is None else open_source(data, connection)
        selection = reports.Selection(term=term if at is None else None, group=group, pairwise=pairwise)
        functions = tables.table_functions(self.model.text, self, slopes, rows)
        return reports.choose_picture(functions, key, selection, _PICTURE_HINTS)

    @property
    def moments_sql(self) -> str:
        """The SQL that was sent for the fit: a survey of the rows, and the GROUP BY that collects their moments.

        As it was written for DuckDB, each statement behind a comment, to be run again where the rows are. The rows of a
        frame are called mlm_rows, and a file is read by the first statement.

        Raises
        ------
        MlmError
            The fit is of moments that were kept, put together, or made elsewhere.
        """
        return self.moments.statements

    @checked(relation=options.RELATION)
    def prediction_sql(self, relation: str) -> str:
        """A SELECT that adds predictions to the rows of a table or SELECT, in the database that holds them.

        Parameters
        ----------
        relation
            A table name, one SELECT, or the path of a file, with the columns of the fit's data.

        Returns
        -------
        str
            SQL for DuckDB, with columns ``fixed_prediction``, ``prediction`` (with the effects of the row's groups),
            ``residual``, ``std_residual`` (by the residual's standard deviation in the row) and ``new_group``, as
            `predict` has them.
        """
        rows = plan_file(relation).relation if is_path(relation, None) else named_relation(relation)[0]
        if rows is None:
            raise DataError(
                f"DuckDB cannot read {relation}, and so no SQL predicts its rows. Read them into a table and name "
                "that, or give a frame of them to predict."
            )
        return self.prediction_query.sql(f"{rows} as mlm_rows")

    def __str__(self) -> str:
        from mlm_ops.results.text.summary import outline

        return outline(self).text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What a notebook shows: as printed, with the equations as MathML."""
        from mlm_ops.results.text.summary import outline

        return outline(self, symbol_in_unicode).html()
