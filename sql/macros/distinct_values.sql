{# The distinct values of an expression over the rows that meet a condition, as an array. #}
{% macro distinct_values(expression, condition) %}
  {{- return(adapter.dispatch('distinct_values', 'mlm')(expression, condition)) -}}
{% endmacro %}

{% macro default__distinct_values(expression, condition) -%}
  array_agg(distinct case when {{ condition }} then {{ expression }} end)
{%- endmacro %}

{% macro duckdb__distinct_values(expression, condition) -%}
  list(distinct {{ expression }}) filter (where {{ condition }})
{%- endmacro %}
