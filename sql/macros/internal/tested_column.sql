{# The column of a generic test, in quotes. dbt hands its name over as it stands in the YAML, or, with `quote: true`, in the
   warehouse's quotes, whatever characters it has. #}
{% macro tested_column(column_name) %}
  {{- return(adapter.dispatch('tested_column', 'mlm')(column_name)) -}}
{% endmacro %}

{% macro default__tested_column(column_name) -%}
  {%- set in_quotes = column_name | length > 2 and adapter.quote(column_name[1:-1]) == column_name -%}
  {{- mlm.identifier(column_name[1:-1] if in_quotes else column_name) -}}
{%- endmacro %}

{# With quotes a name is stored as it is written, in small letters too. #}
{% macro snowflake__tested_column(column_name) -%}
  {%- set in_quotes = column_name | length > 2 and adapter.quote(column_name[1:-1]) == column_name -%}
  {{- mlm.default__identifier(column_name[1:-1]) if in_quotes else mlm.identifier(column_name) -}}
{%- endmacro %}
