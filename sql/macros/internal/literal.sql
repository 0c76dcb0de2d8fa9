{# A text as a SQL literal, whatever characters it has. #}
{% macro literal(text) %}
  {{- return(adapter.dispatch('literal', 'mlm')(text)) -}}
{% endmacro %}

{% macro default__literal(text) -%}
  '{{ text | replace("'", "''") }}'
{%- endmacro %}

{% macro spark__literal(text) -%}
  '{{ text | replace('\\', '\\\\') | replace("'", "\\'") }}'
{%- endmacro %}

{% macro bigquery__literal(text) -%}
  '{{ text | replace('\\', '\\\\') | replace("'", "\\'") }}'
{%- endmacro %}

{% macro redshift__literal(text) -%}
  '{{ text | replace('\\', '\\\\') | replace("'", "''") }}'
{%- endmacro %}

{% macro snowflake__literal(text) -%}
  '{{ text | replace('\\', '\\\\') | replace("'", "''") }}'
{%- endmacro %}
