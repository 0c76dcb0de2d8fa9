{# An expression as a double. #}
{% macro number(expression) %}
  {{- return(adapter.dispatch('number', 'mlm')(expression)) -}}
{% endmacro %}

{% macro default__number(expression) -%}
  cast({{ expression }} as double precision)
{%- endmacro %}

{% macro duckdb__number(expression) -%}
  cast({{ expression }} as double)
{%- endmacro %}
