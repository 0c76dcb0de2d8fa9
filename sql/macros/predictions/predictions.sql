{# Every row of a relation with a model's predictions: fixed_prediction (the fixed part), prediction (with the effects of
   the row's groups), residual, std_residual, and new_group: whether the row has a group that was not in the fit.
   They replace columns of these names, and are null where a value is missing.
   names: list of {expression, name} of what values of columns are called; values: list of {expression, name}, computed row
   by row from these and the columns; units: list of {relation, matched, numbers}, matched being a list
   of {value, column} that must be equal, and numbers the names of columns to join; layers: list of lists of
   {expression, name}, each reading those before it; alone: list of {expression, name} of the only columns to keep, in
   place of all of the relation's; the others: SQL expressions of all these. #}
{% macro predictions(relation, names, values, units, layers, fixed, random, outcome, std_dev, new_group, made, alone=none) %}
  {{- return(adapter.dispatch('predictions', 'mlm')(
    relation, names, values, units, layers, fixed, random, outcome, std_dev, new_group, made, alone)) -}}
{% endmacro %}

{% macro default__predictions(relation, names, values, units, layers, fixed, random, outcome, std_dev, new_group, made, alone=none) %}
with mlm_names as (
  select
    *
    {%- for name in names %},
    {{ name.expression }} as {{ mlm.identifier(name.name) }}
    {%- endfor %}
  from {{ relation }}
),
mlm_values as (
  select
    *
    {%- for value in values %},
    {{ value.expression }} as {{ mlm.identifier(value.name) }}
    {%- endfor %}
  from mlm_names
),
mlm_layer_0 as (
  select
    mlm_values.*
    {%- for unit in units %}
    {%- set table = 'mlm_unit_' ~ loop.index0 %}
    {%- for number in unit.numbers %},
    {{ table }}.{{ mlm.identifier(number) }}
    {%- endfor %}
    {%- endfor %}
  from mlm_values
  {%- for unit in units %}
  {%- set table = 'mlm_unit_' ~ loop.index0 %}
  left join {{ unit.relation }} as {{ table }}
    on {% for key in unit.matched -%}
    {{ table }}.{{ mlm.identifier(key.column) }} = mlm_values.{{ mlm.identifier(key.value) }}
    {{- ' and ' if not loop.last }}
    {%- endfor %}
  {%- endfor %}
),
{%- for layer in layers %}
mlm_layer_{{ loop.index }} as (
  select
    *
    {%- for column in layer %},
    {{ column.expression }} as {{ mlm.identifier(column.name) }}
    {%- endfor %}
  from mlm_layer_{{ loop.index0 }}
),
{%- endfor %}
mlm_predictions as (
  select
    *,
    {{ fixed }} as {{ mlm.identifier(made.fixed) }},
    {{ random }} as {{ mlm.identifier(made.random) }},
    {{ outcome }} as {{ mlm.identifier(made.outcome) }}
  from mlm_layer_{{ layers | length }}
)
select
  {%- if alone is none %}
  columns(lambda name: not starts_with(name, '{{ made.prefix }}') and lower(name) not in (
    'fixed_prediction', 'prediction', 'residual', 'std_residual', 'new_group')),
  {%- else %}
  {%- for column in alone %}
  {{ column.expression }} as {{ mlm.identifier(column.name) }},
  {%- endfor %}
  {%- endif %}
  {%- set fixed_part, effects, observed = mlm.identifier(made.fixed), mlm.identifier(made.random), mlm.identifier(made.outcome) %}
  {{ fixed_part }} as fixed_prediction,
  {{ fixed_part }} + {{ effects }} as prediction,
  {{ observed }} - ({{ fixed_part }} + {{ effects }}) as residual,
  ({{ observed }} - ({{ fixed_part }} + {{ effects }})) / ({{ std_dev }}) as std_residual,
  {{ new_group }} as new_group
from mlm_predictions
{% endmacro %}
