{# The condition that a column, of any type, has a value; NaN counts as missing, as in R. #}
{% macro has_value(column) %}
  {{- return(adapter.dispatch('has_value', 'mlm')(column)) -}}
{% endmacro %}

{% macro default__has_value(column) -%}
  {%- set name = mlm.identifier(column) -%}
  {{ name }} is not null and lower(cast({{ name }} as {{ dbt.type_string() }})) <> 'nan'
{%- endmacro %}

{% macro duckdb__has_value(column) -%}
  {%- set name = mlm.identifier(column) -%}
  {{ name }} is not null and not (typeof({{ name }}) in ('DOUBLE', 'FLOAT') and isnan(try_cast({{ name }} as double)))
{%- endmacro %}

{% macro spark__has_value(column) -%}
  {%- set name = mlm.identifier(column) -%}
  {{ name }} is not null and not (typeof({{ name }}) in ('double', 'float') and lower(cast({{ name }} as string)) = 'nan')
{%- endmacro %}
