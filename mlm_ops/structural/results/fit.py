"""The `SemFit` that `mlm_ops.sem` returns: tables, intervals, equations and diagrams, each made on request."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, get_args

import polars as pl

from mlm_ops.errors import MlmError
from mlm_ops.language import options
from mlm_ops.language.model import group_name
from mlm_ops.language.option_values import choice
from mlm_ops.language.options import DiagramFormat, SemEquationFormat
from mlm_ops.moments.patterns import complete_units
from mlm_ops.results.tables import analysis_tables
from mlm_ops.results.tables.columns import with_model
from mlm_ops.results.tables.units import groups
from mlm_ops.structural.algebra.constraints import wald_test
from mlm_ops.structural.algebra.derived import DRAWS, label_values, monte_carlo
from mlm_ops.structural.inference.comparison import likelihood_ratio
from mlm_ops.structural.language.parameters import moments_model
from mlm_ops.structural.language.syntax import parse_constraints
from mlm_ops.structural.results import tables
from mlm_ops.structural.results.diagram import mermaid
from mlm_ops.structural.results.equations import sem_equations
from mlm_ops.structural.results.mplus import mplus_input
from mlm_ops.structural.results.record import SemContextualEffect, SemRecord
from mlm_ops.warehouse.argument_checks import checked

if TYPE_CHECKING:
    from mlm_ops import reports

_EQUATIONS = choice("format", get_args(SemEquationFormat), "Unknown equations.")
_DIAGRAM = choice("format", get_args(DiagramFormat), "Unknown diagram.")


@dataclass(frozen=True, repr=False)
class SemFit(SemRecord):
    """A fitted two-level structural equation model, as `SemRecord` holds it, that draws up tables and answers."""

    @property
    def parameters(self) -> pl.DataFrame:
        """One row per parameter, in lavaan's order; definitions last, at level 0."""
        return tables.sem_parameters(self)

    @property
    def fit_statistics(self) -> pl.DataFrame:
        """One row."""
        return tables.sem_fit(self)

    @property
    def populations(self) -> pl.DataFrame:
        """One row per group of rows: its size, its parts of log-likelihood and chi-square, and SRMR."""
        return tables.sem_populations(self)

    @property
    def r_squared(self) -> pl.DataFrame:
        """Explained share of every variable that has predictors or factors, by level."""
        return tables.sem_r_squared(self)

    @property
    def icc(self) -> pl.DataFrame:
        """Between share of the variance of every variable of level 1."""
        return tables.sem_icc(self)

    @property
    def variables(self) -> pl.DataFrame:
        """One row per variable of a level: ICC, explained share of variance, and omega of a latent one."""
        return tables.sem_variables(self)

    @property
    def coverage(self) -> pl.DataFrame:
        """Rows that have both of two variables of level 1, and clusters that have both of level 2, and their shares."""
        return tables.sem_coverage(self)

    @property
    def reliability(self) -> pl.DataFrame:
        """Omega within and between of every latent variable whose indicators are all observed."""
        return tables.sem_reliability(self)

    def groups(self) -> pl.DataFrame:
        """One row per cluster and observed variable: rows, mean and standard deviation in the cluster.

        Of complete rows, also where ``missing="ml"`` takes the others too.
        """
        return groups([moments_model(self.estimate.table, self.cluster)], complete_units(self.moments))

    @checked(level=options.LEVEL, draws=options.DRAWS, seed=options.SEED)
    def defined(
        self, level: float = 0.95, *, draws: int = DRAWS, seed: int | None = options.RANDOM_SEED
    ) -> pl.DataFrame:
        """Defined parameters with delta-method intervals (95%) and Monte Carlo intervals of this level.

        Parameters
        ----------
        draws, seed
            Of the estimates' normal distribution; equal seeds give equal limits, None takes a new one.
        """
        if (level, draws, seed) == (0.95, DRAWS, options.RANDOM_SEED):
            return tables.sem_defined(self, *self.monte_carlo_limits)
        limits = monte_carlo(self.estimate.table, self.estimate.theta, self.vcov, level, draws, seed)
        return tables.sem_defined(self, *limits)

    @property
    def contextual(self) -> pl.DataFrame:
        """The contextual effect by latent and, beside it, by observed cluster means; no rows for other models."""
        if self.observed is None:
            return tables.sem_contextual({})
        effect = self.parameters.filter(pl.col("lhs") == "contextual").row(0, named=True)
        slopes = label_values(self.estimate.table, self.estimate.theta)
        within, between = (float(slopes[label]) for label in ("within", "between"))
        latent = SemContextualEffect(within, between, effect["estimate"], effect["std_error"])
        return tables.sem_contextual({"latent": latent, "observed": self.observed})

    @property
    def scores(self) -> pl.DataFrame:
        """What the latent variables of level 2 are in each cluster: parts between clusters, random slopes, factors.

        One row per variable and cluster: its mean and standard deviation given all data of the cluster, and those of
        ``random_effect``, the part of it that no variable of level 2 predicts, as mixed models have it. Parameters
        count as known.

        Raises
        ------
        MlmError
            The covariance matrix of the observed variables of level 2 has no inverse.
        """
        return tables.SEM_TABLES["sem_scores"](self)

    @property
    def invariance(self) -> pl.DataFrame:
        """Invariance of the factors across levels: the model, equal loadings, no residuals between clusters.

        For a model of several groups, the steps are across groups: equal loadings, then also equal intercepts, then
        also equal residuals. One row per step, with its fit and the likelihood ratio test against the previous step,
        plain and scaled. A step that cannot be fitted or tested is the last: its numbers are null, and a note of the
        fit says why. No rows for models without a factor that has the same indicators at both levels.
        """
        return tables.SEM_TABLES["sem_invariance"](self)

    @property
    def score_tests(self) -> pl.DataFrame:
        """Modification indices and expected parameter changes of all that the model leaves out, fixes or equates.

        One row per restriction, the largest index first: how much chi-square would fall by without it, about, and how
        far the parameter would move. They explore: what they suggest needs a reason, and other data to test it.
        """
        return tables.SEM_TABLES["sem_score_tests"](self)

    @checked(larger=options.LARGER)
    def compare(self, larger: SemFit) -> pl.DataFrame:
        """Likelihood ratio test of this model against a larger one that it is a restriction of, plain and scaled.

        Raises
        ------
        MlmError
            Other rows, clusters or columns, not fewer parameters, or a larger model that does not contain this one.
        """
        if self.cluster != larger.cluster:
            raise MlmError(
                f"Nested models must have the same clusters. Got {group_name(self.cluster)!r} and "
                f"{group_name(larger.cluster)!r}; fit both to one."
            )
        names = ["none" if fit.grouping is None else repr(fit.grouping.name) for fit in (self, larger)]
        if names[0] != names[1]:
            raise MlmError(f"Nested models must have the same groups. Got {names[0]} and {names[1]}; fit both by one.")
        return tables.sem_comparison(likelihood_ratio(self.estimate, larger.estimate))

    @checked(constraints=options.CONSTRAINTS)
    def wald(self, constraints: str) -> pl.DataFrame:
        """Wald test of constraints on the estimates, such as ``"a == 2*b"``: all at once, one on each line.

        Of one inequality the test is one-sided: p is small where the estimates speak against it.

        Raises
        ------
        FormulaError, MlmError
            No constraint, unknown names, several inequalities, or constraints of which one follows from the others.
        """
        parsed = parse_constraints(constraints)
        return tables.sem_wald(wald_test(self.estimate.table, parsed, self.estimate.theta, self.vcov))

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

    @checked(format=_EQUATIONS)
    def equations(self, format: SemEquationFormat = "text") -> str:
        """The model by level, as text, with Greek letters, as LaTeX, Markdown or MathML, or as Mplus input."""
        if format == "mplus":
            return mplus_input(self)
        return sem_equations(self.estimate.table, format)

    @checked(format=_DIAGRAM, population=options.POPULATION)
    def diagram(self, format: DiagramFormat = "svg", *, population: str | None = None) -> str:
        """The path diagram with its estimates.

        Parameters
        ----------
        population
            The group of rows that the picture is of, by default the first; a Mermaid diagram has all groups.

        Raises
        ------
        MlmError
            There is no such group.
        """
        if population is not None and population not in self.estimate.table.groups:
            names = ", ".join(self.estimate.table.groups) or "none"
            raise MlmError(f"The model has no group {population!r}. Got groups: {names}.")
        if format == "mermaid":
            return mermaid(self.estimate.table, self.estimate.theta)
        # rules of the house: rooms above are looked up by their public name, when they are needed
        from mlm_ops import reports

        return reports.path_diagram(self.parameters, population).svg()

    @checked(key=options.PICTURE, term=options.TERM, group=options.ONE_GROUP)
    def picture(self, key: str, *, term: str | None = None, group: str | None = None) -> reports.Picture:
        """A picture of the model's tables, as a report has it: ``.svg() .png() .save()``, and shown in a notebook.

        Parameters
        ----------
        key
            Which; the message for an unknown one lists those that there are.
        term, group
            Of which variable and grouping factor, where there is a picture for each; by default the first.

        Raises
        ------
        MlmError
            There is no such picture, or none of this model or variable.
        """
        from mlm_ops import reports

        functions = {name: partial(self._table, name) for name in tables.SEM_TABLES}
        whole = complete_units(self.moments)
        if whole.n_units:
            frames = analysis_tables([moments_model(self.estimate.table, self.cluster)], whole)
            functions |= {name: partial(frames.__getitem__, name) for name in frames}
        return reports.choose_picture(functions, key, reports.Selection(term=term, group=group), {})

    def _table(self, name: str) -> pl.DataFrame:
        """One of the result tables, with the model's text as its name."""
        return with_model(self.model.text, tables.SEM_TABLES[name](self))

    def __str__(self) -> str:
        from mlm_ops.structural.results.summary import outline

        return outline(self).text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What a notebook shows: as printed, with the equations as MathML."""
        from mlm_ops.structural.results.summary import outline

        return outline(self).html()
