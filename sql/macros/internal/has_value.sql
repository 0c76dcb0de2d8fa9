{# The condition that a column, of any type, has a value; NaN counts as missing, as in R, and the text 'NaN' is a text.
   The text of a value does not tell the two apart, so each dialect looks up the column's type in its own way.
   name: the column in quotes, where `identifier` is not to put them. #}
{% macro has_value(column, name=none) %}
  {{- return(adapter.dispatch('has_value', 'mlm')(name or mlm.identifier(column))) -}}
{% endmacro %}

{# Finds a NaN in dialects in which it is not equal to itself. In others, such as Redshift, only the macros that read the
   column as a number find it. #}
{% macro default__has_value(name) -%}
  {{ name }} is not null and {{ name }} = {{ name }}
{%- endmacro %}

{% macro duckdb__has_value(name) -%}
  {{ name }} is not null and not (typeof({{ name }}) in ('DOUBLE', 'FLOAT') and isnan(try_cast({{ name }} as double)))
{%- endmacro %}

{% macro spark__has_value(name) -%}
  {{ name }} is not null and not (typeof({{ name }}) in ('double', 'float') and lower(cast({{ name }} as string)) = 'nan')
{%- endmacro %}

{% macro trino__has_value(name) -%}
  {{ name }} is not null and not (typeof({{ name }}) in ('double', 'real') and lower(cast({{ name }} as varchar)) = 'nan')
{%- endmacro %}

{# Types are compared as such: their names would be looked up for each row. #}
{% macro postgres__has_value(name) -%}
  {{ name }} is not null and not (
    pg_typeof({{ name }}) in (
      cast('double precision' as regtype), cast('real' as regtype), cast('numeric' as regtype))
    and cast({{ name }} as text) = 'NaN')
{%- endmacro %}

{# Redshift is dispatched as a kind of Postgres, and has no pg_typeof() of columns. #}
{% macro redshift__has_value(name) -%}
  {{ mlm.default__has_value(name) }}
{%- endmacro %}

{% macro snowflake__has_value(name) -%}
  {{ name }} is not null and not (
    typeof(to_variant({{ name }})) = 'DOUBLE' and lower(to_varchar(to_variant({{ name }}))) = 'nan')
{%- endmacro %}

{# BigQuery writes a value as its literal: NaN as CAST("nan" AS FLOAT64), a text in quotes. #}
{% macro bigquery__has_value(name) -%}
  {{ name }} is not null and format('%T', {{ name }}) <> 'CAST("nan" AS FLOAT64)'
{%- endmacro %}
