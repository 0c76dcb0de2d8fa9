{# The smallest value of an expression of any type that has an order, as an aggregate. #}
{% macro smallest(expression) %}
  {{- return(adapter.dispatch('smallest', 'mlm')(expression)) -}}
{% endmacro %}

{% macro default__smallest(expression) -%}
  min({{ expression }})
{%- endmacro %}

{# Postgres has no min() of booleans, but one of arrays of any type. #}
{% macro postgres__smallest(expression) -%}
  (min(array[{{ expression }}]))[1]
{%- endmacro %}

{# Redshift is dispatched as a kind of Postgres, and has no such arrays. #}
{% macro redshift__smallest(expression) -%}
  {{ mlm.default__smallest(expression) }}
{%- endmacro %}
