{# The rows of some parts, each with further columns about its part. relation: the rows, with an alias; parts: for each part
   a list of expressions, one for each of `columns`; belongs: the condition that a row lies in a part. #}
{% macro rows_in_parts(relation, columns, parts, belongs) %}
  {{- return(adapter.dispatch('rows_in_parts', 'mlm')(relation, columns, parts, belongs)) -}}
{% endmacro %}

{% macro default__rows_in_parts(relation, columns, parts, belongs) %}
(
  select *
  from {{ relation }}
  join (
    values
    {%- for part in parts %}
    ({{ part | join(', ') }}){{ ',' if not loop.last }}
    {%- endfor %}
  ) as mlm_parts ({{ columns | join(', ') }})
  on {{ belongs }}
) as mlm_rows
{% endmacro %}
