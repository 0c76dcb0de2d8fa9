{# One row with everything that a model needs of a relation whose columns are not known beforehand: `described`, the
   names and types of its columns; `survey`, `missing`, `moments` and `residual_sums`, the results of the macros of these
   names. For hosts in which only one statement can be run, such as a table function.
   columns: list of {expression, name}, computed for each row; expected: names of columns that the relation should have,
   null for those that it has not; repeatable: whether the relation gives the same rows each time it is read;
   survey_of, moments_of, residual_of: arguments of the macros, for the relation mlm_rows, which has the survey's means
   for the last two, by the names in centers: list of {name, mean};
   survey_of.inside: numbers whose missing values are counted, and nothing else; missing_units: expressions whose
   missing values are counted as those of units. #}
{% macro one_query(relation, columns, expected, repeatable, complete, survey_of, missing_units, centers, moments_of, residual_of=none) %}
  {{- return(adapter.dispatch('one_query', 'mlm')(
    relation, columns, expected, repeatable, complete, survey_of, missing_units, centers, moments_of, residual_of)) -}}
{% endmacro %}

{% macro default__one_query(relation, columns, expected, repeatable, complete, survey_of, missing_units, centers, moments_of, residual_of=none) %}
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
mlm_survey as (
  {{ mlm.survey('mlm_rows', survey_of.numbers, survey_of.categories, [], complete, 0) }}
),
mlm_incomplete as (
  -- where all rows are complete they need not be read once more
  select * from mlm_rows where (select n_complete < n_rows from mlm_survey) and not ({{ complete }})
),
mlm_missing as (
  {{ mlm.missing('mlm_incomplete', survey_of.numbers + survey_of.inside, survey_of.categories, missing_units) }}
),
mlm_centered as (
  -- one join, as a subquery for each center takes longer to plan
  select
    mlm_rows.*
    {%- for center in centers %},
    mlm_survey.{{ center.mean }} as {{ mlm.identifier(center.name) }}
    {%- endfor %}
  from mlm_rows
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
  (select found from mlm_survey as found) as survey,
  (select found from mlm_missing as found) as missing,
  (select list(found) from mlm_moments as found) as moments,
  {% if residual_of is not none %}(select list(found) from mlm_residual as found){% else %}null{% endif %} as residual_sums
{% endmacro %}
