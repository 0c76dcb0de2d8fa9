{# A column as a double; null where it, or one of the columns `complete`, has no value. NaN counts as missing. #}
{% macro value(column, complete=none) %}
  {{- return(adapter.dispatch('value', 'mlm')(column, complete)) -}}
{% endmacro %}

{% macro default__value(column, complete=none) -%}
  {%- set number = mlm.number(mlm.identifier(column)) -%}
  case when not {{ mlm.is_nan(number) }}{{ ' and ' ~ mlm.complete(complete) if complete }} then {{ number }} end
{%- endmacro %}
