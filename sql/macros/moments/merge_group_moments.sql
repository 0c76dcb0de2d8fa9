{# The moments of `group_moments` merged over parts of the rows, such as partitions: one row for each value of `group`, some
   of the relation's key columns; or a single row, without `group`. n, mean_x and scatter_y_x are those of all rows
   together, to rounding; value_c is null where the parts differ. Products are left out, because each part subtracts its
   own grand means. #}
{% macro merge_group_moments(relation, columns, group=[], constants=[]) %}
  {{- return(adapter.dispatch('merge_group_moments', 'mlm')(relation, columns, group, constants)) -}}
{% endmacro %}

{% macro default__merge_group_moments(relation, columns, group=[], constants=[]) %}
{{- mlm.required('merge_group_moments', {'relation': relation, 'columns': columns}) }}
{%- set columns = [columns] if columns is string else columns %}
{%- set constants = [constants] if constants is string else constants %}
{%- set keys = [group] if group is string else group %}
{{- mlm.refuse_equal_names_of_moments(keys, [], columns, constants, 'merge_group_moments') }}
with mlm_parts as (
  select
    {%- for key in keys %}
    {{ mlm.identifier(key) }} as u_{{ loop.index0 }},
    {%- endfor %}
    {%- for column in columns %}
    {%- set i = loop.index0 %}
    {{ mlm.identifier('mean_' ~ column) }} as mean_{{ i }},
    {%- for other in columns[:i + 1] %}
    {{ mlm.identifier('scatter_' ~ column ~ '_' ~ other) }} as scatter_{{ i }}_{{ loop.index0 }},
    {%- endfor %}
    {%- endfor %}
    n
  from {{ relation }}
),
mlm_merged as (
  {{ mlm.merge_moments('mlm_parts', keys | length, columns | length, 0) }}
)
{%- if constants %},
mlm_constants as (
  select
    {%- for key in keys %}
    {{ mlm.identifier(key) }} as k_{{ loop.index0 }},
    {%- endfor %}
    {%- for column in constants %}
    {%- set value = mlm.identifier('value_' ~ column) %}
    case when {{ mlm.smallest(value) }} = {{ mlm.largest(value) }} and count({{ value }}) = count(*)
      then {{ mlm.smallest(value) }} end as c_{{ loop.index0 }}
    {{- ',' if not loop.last }}
    {%- endfor %}
  from {{ relation }}
  {%- if keys %}
  group by {{ mlm.group_columns(keys) }}
  {%- endif %}
)
{%- endif %}
select
  {%- for key in keys %}
  u_{{ loop.index0 }} as {{ mlm.identifier(key) }},
  {%- endfor %}
  n
  {%- for column in columns %},
  mean_{{ loop.index0 }} as {{ mlm.identifier('mean_' ~ column) }}
  {%- endfor %}
  {%- for column in columns %}
  {%- set i = loop.index0 %}
  {%- for other in columns[:i + 1] %},
  scatter_{{ i }}_{{ loop.index0 }} as {{ mlm.identifier('scatter_' ~ column ~ '_' ~ other) }}
  {%- endfor %}
  {%- endfor %}
  {%- for column in constants %},
  c_{{ loop.index0 }} as {{ mlm.identifier('value_' ~ column) }}
  {%- endfor %}
from mlm_merged
{%- if constants %}
{%- if keys %}
join mlm_constants on {% for key in keys %}u_{{ loop.index0 }} = k_{{ loop.index0 }}{{ ' and ' if not loop.last }}{% endfor %}
{%- else %}
cross join mlm_constants
{%- endif %}
{%- endif %}
{% endmacro %}
