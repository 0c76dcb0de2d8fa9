{# A column's name in quotes, whatever characters it has. #}
{% macro identifier(name) %}
  {{- return(adapter.dispatch('identifier', 'mlm')(name)) -}}
{% endmacro %}

{% macro default__identifier(name) -%}
  {{- adapter.quote(name | replace('"', '""')) -}}
{%- endmacro %}

{% macro spark__identifier(name) -%}
  {{- adapter.quote(name | replace('`', '``')) -}}
{%- endmacro %}

{% macro bigquery__identifier(name) -%}
  {{- adapter.quote(name | replace('\\', '\\\\') | replace('`', '\\`')) -}}
{%- endmacro %}
