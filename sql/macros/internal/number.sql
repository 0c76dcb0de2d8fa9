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

{% macro spark__number(expression) -%}
  cast({{ expression }} as double)
{%- endmacro %}

{% macro trino__number(expression) -%}
  cast({{ expression }} as double)
{%- endmacro %}

{% macro bigquery__number(expression) -%}
  cast({{ expression }} as float64)
{%- endmacro %}
