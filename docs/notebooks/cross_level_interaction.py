"""From a CSV to an interpreted cross-level interaction.

``uv run marimo run docs/notebooks/cross_level_interaction.py``, or ``edit`` in the place of ``run`` to change it.
"""

import marimo

app = marimo.App(app_title="From a CSV to a cross-level interaction")

with app.setup:
    from pathlib import Path

    import marimo as mo
    import polars as pl
    from scipy.stats import chi2, norm

    import mlm_ops as mlm

    DATA = Path(__file__).parents[2] / "pipelines" / "data" / "hsb.csv"

    def coefficient(fit, term):
        """The row of a coefficient, as a dict."""
        return fit.fixed_effects.row(by_predicate=pl.col("term") == term, named=True)

    def variance(fit, term):
        """The variance of a random effect; of the rows, with term None."""
        rows = fit.variance_components.filter(pl.col("term").eq_missing(term) & pl.col("other").is_null())
        return rows["estimate"].item()

    def interval(row):
        """The interval of an estimate, in words."""
        return f"95% interval {row['conf_low']:.2f} to {row['conf_high']:.2f}"


@app.cell
def _():
    students = pl.read_csv(DATA)
    schools = students["school"].n_unique()
    mo.vstack(
        [
            mo.md(f"""
# From a CSV to a cross-level interaction

Does a student's socio-economic status matter more in some schools than in others, and what is it about these schools?
Below are six steps from a file to an answer. Every number in the text is computed from the file when the notebook runs.

## The file

A row is a student: **{students.height:,} students in {schools} schools**. `mathach` is achievement in mathematics,
`ses` a composite of the parents' education, occupation and income. `disclim`, the disciplinary climate, is the same for
all students of a school.
"""),
            students.select("school", "mathach", "ses", "disclim", "sector").head(),
        ]
    )
    return schools, students


@app.cell
def _(students):
    null = mlm.fit("mathach ~ 1 + (1 | school)", students)
    icc = null.icc().row(0, named=True)
    tau_00, sigma2 = variance(null, "(Intercept)"), variance(null, None)
    mo.md(f"""
## How alike are students of one school?

A model without predictors splits the variance of `mathach` in two: between schools, tau_00 = {tau_00:.2f}, and between
the students of a school, sigma² = {sigma2:.2f}. The share between schools is the intraclass correlation:

**ICC = {icc["icc"]:.3f}** ({interval(icc)}).

So {icc["icc"]:.0%} of the variance lies between schools. Students of one school are alike; the {students.height:,} of
them say as much about the mean as {icc["n_effective"]:,.0f} independent ones would, and a regression that ignores the
schools would report standard errors that are too small.
""")
    return


@app.cell
def _(students):
    two_slopes = mlm.fit("mathach ~ within(ses) + between(ses) + (1 | school)", students)
    within, between = coefficient(two_slopes, "within(ses)"), coefficient(two_slopes, "between(ses)")
    context = two_slopes.contextual_effects().row(0, named=True)
    mo.vstack(
        [
            mo.md(f"""
## Within schools and between them

`ses` differs between students of a school, and between schools. Two questions hide in one predictor, so it enters
twice: `within(ses)` is a student's `ses` minus the mean of the school, `between(ses)` is that mean.

- **Within**: of two students of one school, the one with one point more of `ses` is predicted
  {within["estimate"]:.2f} points more ({interval(within)}).
- **Between**: of two schools, the one with one point more of mean `ses` is predicted {between["estimate"]:.2f} points
  more ({interval(between)}).

The difference, {context["estimate"]:.2f} ({interval(context)}), is the contextual effect: what the school's mean adds
for students of the same `ses`.
"""),
            mo.Html(two_slopes.picture("two_slopes").svg()),
        ]
    )
    return (two_slopes,)


@app.cell
def _(students, two_slopes):
    slopes_vary = mlm.fit("mathach ~ within(ses) + between(ses) + (1 + within(ses) | school)", students)
    tau_11 = variance(slopes_vary, "within(ses)")
    slope = coefficient(slopes_vary, "within(ses)")["estimate"]
    least, most = norm.ppf([0.025, 0.975], slope, tau_11**0.5)
    drop = two_slopes.fit_statistics["deviance"].item() - slopes_vary.fit_statistics["deviance"].item()
    # a variance and a covariance, the variance on the edge of what it can be: half and half of one and two degrees
    p_value = (chi2.sf(drop, 1) + chi2.sf(drop, 2)) / 2
    mo.vstack(
        [
            mo.md(f"""
## Is the slope the same in every school?

Until now each school had its own mean and all had one slope. `(1 + within(ses) | school)` gives each its own slope,
too. The deviance falls by {drop:.2f} (p = {p_value:.4f}; the fixed parts are the same, so that REML compares): the
slopes differ.

They average {slope:.2f}, with variance tau_11 = {tau_11:.2f}. If slopes are normal, those of 95% of the schools lie
between {least:.2f} and {most:.2f}. That is what there is to explain.
"""),
            mo.Html(slopes_vary.picture("unit_lines").svg()),
        ]
    )
    return slopes_vary, tau_11


@app.cell
def _(slopes_vary, students, tau_11):
    formula = "mathach ~ within(ses) * center(disclim) + between(ses) + (1 + within(ses) | school)"
    interaction = mlm.fit(formula, students)
    product = coefficient(interaction, "within(ses):center(disclim)")
    average = coefficient(interaction, "within(ses)")
    left = variance(interaction, "within(ses)")
    mo.vstack(
        [
            mo.md("""
## What is it about these schools?

`disclim` belongs to schools, `ses` to students: their product is a **cross-level interaction**. In equations, the
school's slope has a predictor of its own:
"""),
            mo.plain_text(interaction.equations("levels")),
            mo.md(f"""
In a school of average climate the slope of `ses` is {average["estimate"]:.2f} ({interval(average)}): `center(disclim)`
is zero there, which is why it was centered. **With each point of `disclim` the slope grows by
{product["estimate"]:.2f}** ({interval(product)}, t = {product["statistic"]:.2f} on {product["df"]:.0f} degrees of
freedom).

The variance of slopes falls from {tau_11:.2f} to {left:.2f}: climate accounts for {1 - left / tau_11:.0%} of the
differences between the schools' slopes.
"""),
        ]
    )
    return (interaction,)


@app.cell
def _(interaction):
    lines = interaction.simple_slopes("within(ses)", "center(disclim)").filter(pl.col("kind") == "slope")
    low, high = lines.row(0, named=True), lines.row(-1, named=True)
    picture = interaction.picture("simple_slopes", term="within(ses)", at="center(disclim)")
    mo.vstack(
        [
            mo.md(f"""
## For whom, and how much?

A coefficient of a product is hard to picture, lines are not. One standard deviation below the schools' mean climate a
point of `ses` is worth {low["estimate"]:.2f} ({interval(low)}), one above it {high["estimate"]:.2f} ({interval(high)}).
"""),
            mo.Html(picture.svg()),
            mo.md(picture.reading),
        ]
    )
    return high, low


@app.cell
def _(high, interaction, low):
    regions = interaction.johnson_neyman("within(ses)", "center(disclim)")
    positive = regions.filter(pl.col("significant") & (pl.col("direction") == "positive")).row(0, named=True)
    mo.vstack(
        [
            mo.md(f"""
## Where does the slope differ from zero?

Three values of a moderator are arbitrary. The Johnson-Neyman bounds are where the interval around the slope leaves
zero: the slope is above zero where `center(disclim)` exceeds {positive["low"]:.2f}. There lie {positive["share"]:.0%}
of the schools.
"""),
            mo.Html(interaction.picture("johnson_neyman", term="within(ses)", at="center(disclim)").svg()),
            mo.md(f"""
## In one sentence

Within schools, students of higher socio-economic status achieve more, and where `disclim` is high status counts for
more: a point of it goes with {low["estimate"]:.2f} points of achievement in schools a standard deviation below the
average climate, and with {high["estimate"]:.2f} in schools a standard deviation above.

Schools were not assigned their climate, so this is a description: schools that differ in climate differ in other ways.
`pipelines/analyses/hsb.yaml` fits models like these in a pipeline, and docs/language.md says what else a formula can
be.
"""),
        ]
    )
    return


if __name__ == "__main__":
    app.run()
