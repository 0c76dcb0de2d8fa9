{# One row with everything that a model needs of a relation whose columns are not known beforehand: `described`, the
   names and types of its columns; `survey`, `missing`, `moments` and `residual_sums`, the results of the macros of these
   names. For hosts in which only one statement can be run, such as a table function.
   columns: list of {expression, name}, computed for each row; expected: names of columns that the relation should have,
   null for those that it has not; repeatable: whether the relation gives the same rows each time it is read;
   survey_of, moments_of, residual_of: arguments of the macros, for the relation mlm_rows, which has the survey's means
   for the last two, by the names in centers: list of {name, mean};
   survey_of.inside: numbers whose missing values are counted, and nothing else; missing_units: expressions whose
   missing values are counted as those of units;
   guess: none, or what the first rows tell: complete, the condition of the rows that count if the columns are as
   they were seen; units, variables,
   monomials and constants of the macro moments; text, which the answer repeats; far, of the macro first_rows_are_typical. Where the
   guess holds, its moments are all that is computed. #}
{% macro survey_and_moments(relation, columns, expected, repeatable, complete, survey_of, missing_units, centers, moments_of, residual_of=none, guess=none) %}
  {{- return(adapter.dispatch('survey_and_moments', 'mlm')(
    relation, columns, expected, repeatable, complete, survey_of, missing_units, centers, moments_of, residual_of, guess)) -}}
{% endmacro %}

{% macro default__survey_and_moments(relation, columns, expected, repeatable, complete, survey_of, missing_units, centers, moments_of, residual_of=none, guess=none) %}
{%- set rows = 'mlm_rows' if guess is none else 'mlm_rows_without_guess' -%}
with mlm_described as (
  select list([column_name, column_type]) as columns
  from (describe select * from {{ relation }})
),
mlm_rows as {{ 'not materialized' if repeatable else 'materialized' }} (
  select
    {%- for column in columns %}
    {{ column.expression }} as {{ mlm.identifier(column.name) }}{{ ',' if not loop.last }}
    {%- endfor %}
  from (
    select * from {{ relation }}
    union all by name
    select {% for name in expected %}null as {{ mlm.identifier(name) }}{{ ', ' if not loop.last }}{% endfor %} where false
  ) as expected
),
{%- if guess is not none %}
mlm_moments_of_guess as materialized (
  {{ mlm.moments('mlm_rows', guess.units, guess.variables, guess.monomials, guess.constants, guess.complete) }}
),
mlm_check_of_guess as materialized (
  {{ mlm.first_rows_are_typical('mlm_moments_of_guess', relation, guess.monomials | length, guess.constants | length, guess.far) }}
),
mlm_rows_without_guess as (
  select mlm_rows.*
  from mlm_rows
  cross join (select n_rows from mlm_check_of_guess where not holds) as refuted_guess
),
{%- endif %}
mlm_survey as (
  {{ mlm.survey(rows, survey_of.numbers, survey_of.categories, [], complete, 0) }}
),
mlm_incomplete as (
  -- where all rows are complete they need not be read once more
  select * from {{ rows }} where (select n_complete < n_rows from mlm_survey) and not ({{ complete }})
),
mlm_missing as (
  {{ mlm.missing('mlm_incomplete', survey_of.numbers + survey_of.inside, survey_of.categories, missing_units) }}
),
mlm_centered as (
  -- one join, as a subquery for each center takes longer to plan
  select
    {{ rows }}.*
    {%- for center in centers %},
    mlm_survey.{{ center.mean }} as {{ mlm.identifier(center.name) }}
    {%- endfor %}
  from {{ rows }}
  cross join mlm_survey
),
mlm_moments as (
  {{ mlm.moments('mlm_centered', moments_of.units, moments_of.variables, moments_of.monomials, moments_of.constants, complete) }}
)
{%- if residual_of is not none %},
mlm_residual as (
  {{ mlm.residual_moments(
    'mlm_centered', moments_of.units, moments_of.variables, moments_of.monomials, complete,
    residual_of.precision, residual_of.stratum, residual_of.time) }}
)
{%- endif %}
select
  (select columns from mlm_described) as described,
  (select answer from mlm_survey as answer) as survey,
  (select answer from mlm_missing as answer) as missing,
  (select list(answer) from mlm_moments as answer) as moments,
  {% if residual_of is not none %}(select list(answer) from mlm_residual as answer){% else %}null{% endif %} as residual_sums,
  {% if guess is not none -%}
  (
    select struct_pack(text := {{ mlm.literal(guess.text) }}, n_rows := n_rows, moments := (select list(answer) from mlm_moments_of_guess as answer))
    from mlm_check_of_guess
    where holds
  )
  {%- else %}null{% endif %} as guessed
{% endmacro %}
