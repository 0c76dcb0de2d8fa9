{# How many bytes a column's name may have: the warehouse cuts a longer one without a word, or refuses it. 0: any number. #}
{% macro longest_name() %}
  {{- return(adapter.dispatch('longest_name', 'mlm')()) -}}
{% endmacro %}

{% macro default__longest_name() -%}
  0
{%- endmacro %}

{% macro postgres__longest_name() -%}
  63
{%- endmacro %}

{% macro redshift__longest_name() -%}
  127
{%- endmacro %}

{% macro snowflake__longest_name() -%}
  255
{%- endmacro %}

{% macro bigquery__longest_name() -%}
  300
{%- endmacro %}
