{# Whether a double is not a number; null where it is null. #}
{% macro is_nan(expression) %}
  {{- return(adapter.dispatch('is_nan', 'mlm')(expression)) -}}
{% endmacro %}

{% macro default__is_nan(expression) -%}
  isnan({{ expression }})
{%- endmacro %}

{% macro bigquery__is_nan(expression) -%}
  is_nan({{ expression }})
{%- endmacro %}

{% macro trino__is_nan(expression) -%}
  is_nan({{ expression }})
{%- endmacro %}

{% macro postgres__is_nan(expression) -%}
  ({{ expression }} = {{ mlm.number("'NaN'") }})
{%- endmacro %}

{% macro snowflake__is_nan(expression) -%}
  ({{ expression }} = {{ mlm.number("'NaN'") }})
{%- endmacro %}
