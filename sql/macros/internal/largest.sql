{# The largest value of an expression of any type that has an order, as an aggregate. #}
{% macro largest(expression) %}
  {{- return(adapter.dispatch('largest', 'mlm')(expression)) -}}
{% endmacro %}

{% macro default__largest(expression) -%}
  max({{ expression }})
{%- endmacro %}

{# Postgres has no max() of booleans, but one of arrays of any type. #}
{% macro postgres__largest(expression) -%}
  (max(array[{{ expression }}]))[1]
{%- endmacro %}

{# Redshift is dispatched as a kind of Postgres, and has no such arrays. #}
{% macro redshift__largest(expression) -%}
  {{ mlm.default__largest(expression) }}
{%- endmacro %}
