{# One row per group: the columns of `group`; its number of rows n; mean_x of each column x; center_x, the grand mean of x,
   which is subtracted before summing; scatter_y_x, the sum of products of deviations from the group's means, for each
   column y and each x up to it in the list (scatter_x_x: the sum of squares). Only rows that have a value in all columns,
   and in those of `complete`, count. products: lists of columns; `['x', 'y']` gives mean_x_by_y and the scatters of the
   product of x and y, each minus its grand mean. constants: columns, numbers or text, that have one value in all rows of a
   group, given as value_c; null where a group has several. One statement reads the rows twice: for the grand means, and
   for the sums. #}
{% macro group_moments(relation, columns, group, products=[], complete=none, constants=[]) %}
  {{- return(adapter.dispatch('group_moments', 'mlm')(relation, columns, group, products, complete, constants)) -}}
{% endmacro %}

{% macro default__group_moments(relation, columns, group, products=[], complete=none, constants=[]) %}
{{- mlm.required('group_moments', {'relation': relation, 'columns': columns, 'group': group}) }}
{%- set columns = [columns] if columns is string else columns %}
{%- set constants = [constants] if constants is string else constants %}
{%- set complete = [complete] if complete is string else complete %}
{#- one product, without the list around it #}
{%- set products = [products] if products and products[0] is string else products %}
{%- set keys = [group] if group is string else group %}
{%- set names = columns + products | map('join', '_by_') | list %}
{%- set units, variables, monomials, fixed = [], [], [], [] %}
{%- for key in keys %}
{%- set _ = units.append('u_' ~ loop.index0) %}
{%- endfor %}
{%- for column in columns %}
{%- set alias = 'v_' ~ loop.index0 %}
{%- set center = '(select center_' ~ loop.index0 ~ ' from mlm_grand)' %}
{%- set _ = variables.append({'alias': alias, 'expression': alias, 'center': center}) %}
{%- set _ = monomials.append([alias]) %}
{%- endfor %}
{%- for product in products %}
{%- set factors = [] %}
{%- for column in product %}
{%- if column not in columns %}
{{- exceptions.raise_compiler_error(
  "mlm.group_moments() multiplies columns of columns=. Got the product " ~ product | join(' and ') ~ "; add " ~ column ~ " to columns.") }}
{%- endif %}
{%- set _ = factors.append('v_' ~ columns.index(column)) %}
{%- endfor %}
{%- set _ = monomials.append(factors) %}
{%- endfor %}
{%- for column in constants %}
{%- set _ = fixed.append({'alias': 'c_' ~ loop.index0, 'expression': 'c_' ~ loop.index0}) %}
{%- endfor %}
{{- mlm.refuse_equal_names_of_moments(keys, columns, names, constants, 'group_moments') }}
with mlm_rows as (
  select
    {%- for key in keys %}
    {{ mlm.identifier(key) }} as u_{{ loop.index0 }},
    {%- endfor %}
    {%- for column in constants %}
    {{ mlm.identifier(column) }} as c_{{ loop.index0 }},
    {%- endfor %}
    {%- for column in columns %}
    {{ mlm.value(column) }} as v_{{ loop.index0 }}{{ ',' if not loop.last }}
    {%- endfor %}
  from {{ relation }}
  where {{ mlm.in_group(keys) }} and {{ mlm.complete(columns + constants + (complete or [])) }}
),
mlm_grand as (
  select
    {%- for column in columns %}
    avg(v_{{ loop.index0 }}) as center_{{ loop.index0 }}{{ ',' if not loop.last }}
    {%- endfor %}
  from mlm_rows
),
mlm_moments as (
  {{ mlm.moments('mlm_rows', units, variables, monomials, fixed, 'true') }}
)
select
  {%- for key in keys %}
  u_{{ loop.index0 }} as {{ mlm.identifier(key) }},
  {%- endfor %}
  n
  {%- for column in columns %},
  center_{{ loop.index0 }} as {{ mlm.identifier('center_' ~ column) }}
  {%- endfor %}
  {%- for name in names %},
  {%- set i = loop.index0 %}
  {{ 'center_' ~ i ~ ' + ' if i < columns | length }}mean_{{ i }} as {{ mlm.identifier('mean_' ~ name) }}
  {%- endfor %}
  {%- for name in names %}
  {%- set i = loop.index0 %}
  {%- for other in names[:i + 1] %},
  scatter_{{ i }}_{{ loop.index0 }} as {{ mlm.identifier('scatter_' ~ name ~ '_' ~ other) }}
  {%- endfor %}
  {%- endfor %}
  {%- for column in constants %},
  case when low_{{ loop.index0 }} = high_{{ loop.index0 }} then low_{{ loop.index0 }} end as {{ mlm.identifier('value_' ~ column) }}
  {%- endfor %}
from mlm_moments
cross join mlm_grand
{% endmacro %}
