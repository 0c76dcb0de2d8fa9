{# The rows with their missing cells filled in, and a text of 0 (missing) and 1 that says which cells they have, in the order
   of `columns`. relation: the rows, with an alias; keys: further columns, quoted; columns: the quoted name, the condition that
   a cell has a value, and the SQL to fill it with, null to leave it; pattern: the quoted name of the text. #}
{% macro rows_by_pattern(relation, keys, columns, pattern) %}
  {{- return(adapter.dispatch('rows_by_pattern', 'mlm')(relation, keys, columns, pattern)) -}}
{% endmacro %}

{% macro default__rows_by_pattern(relation, keys, columns, pattern) %}
(
  select
    {%- for other in keys %}
    {{ other }},
    {%- endfor %}
    {%- for column in columns %}
    case when {{ column.has_value }} then cast({{ column.name }} as double) else {{ column.filler }} end as {{ column.name }},
    {%- endfor %}
    concat(
    {%- for column in columns %}
      case when {{ column.has_value }} then '1' else '0' end{{ ',' if not loop.last }}
    {%- endfor %}
    ) as {{ pattern }}
  from {{ relation }}
) as mlm_rows
{% endmacro %}
