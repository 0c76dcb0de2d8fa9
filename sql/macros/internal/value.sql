{# A column as a double; null where it, or one of the columns `complete`, has no value. NaN counts as missing. #}
{% macro value(column, complete=none) %}
  {{- return(adapter.dispatch('value', 'mlm')(column, complete)) -}}
{% endmacro %}

{% macro default__value(column, complete=none) -%}
  {%- set number = mlm.number(mlm.identifier(column)) -%}
  case when not {{ mlm.is_nan(number) }}{{ ' and ' ~ mlm.complete(complete) if complete }} then {{ number }} end
{%- endmacro %}

{# Postgres does not cast booleans to doubles, and types a cast before it knows the column's type: by way of the text, which
   has all digits of a number. Its NaN is equal to itself. #}
{% macro postgres__value(column, complete=none) -%}
  {%- set text = 'cast(' ~ mlm.identifier(column) ~ ' as text)' -%}
  {%- set number -%}
  nullif(
    case {{ text }} when 'true' then 1 when 'false' then 0 else {{ mlm.number(text) }} end, {{ mlm.number("'NaN'") }})
  {%- endset -%}
  {{ 'case when ' ~ mlm.complete(complete) ~ ' then ' if complete }}{{ number }}{{ ' end' if complete }}
{%- endmacro %}

{# Redshift is dispatched as a kind of Postgres. #}
{% macro redshift__value(column, complete=none) -%}
  {{ mlm.default__value(column, complete) }}
{%- endmacro %}
