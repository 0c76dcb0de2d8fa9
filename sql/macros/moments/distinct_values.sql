{# The distinct values of an expression, as an array. #}
{% macro distinct_values(expression) %}
  {{- return(adapter.dispatch('distinct_values', 'mlm')(expression)) -}}
{% endmacro %}

{% macro default__distinct_values(expression) -%}
  array_agg(distinct {{ expression }})
{%- endmacro %}

{% macro duckdb__distinct_values(expression) -%}
  list(distinct {{ expression }})
{%- endmacro %}
