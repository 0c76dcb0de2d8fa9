{# The first rows, in no particular order unless the table has one.
   columns: list of {expression, alias}. #}
{% macro first_rows(relation, columns, rows) %}
  {{- return(adapter.dispatch('first_rows', 'mlm')(relation, columns, rows)) -}}
{% endmacro %}

{% macro default__first_rows(relation, columns, rows) %}
select
  {%- for column in columns %}
  {{ column.expression }} as {{ column.alias }}{{ ',' if not loop.last }}
  {%- endfor %}
from {{ relation }}
limit {{ rows }}
{% endmacro %}
