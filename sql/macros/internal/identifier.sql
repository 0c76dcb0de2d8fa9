{# A column's name in quotes, whatever characters it has. #}
{% macro identifier(name) %}
  {{- return(adapter.dispatch('identifier', 'mlm')(name)) -}}
{% endmacro %}

{% macro default__identifier(name) -%}
  {{- adapter.quote(name | replace('"', '""')) -}}
{%- endmacro %}

{# Snowflake stores a name without quotes in capitals, which is how tables get theirs unless someone quoted them: so a name
   of letters, digits and _ is written in capitals. With the variable mlm_quoted_names each name is written as it is. #}
{% macro snowflake__identifier(name) -%}
  {%- if name.isidentifier() and name.isascii() and not var('mlm_quoted_names', false) -%}
  {{- adapter.quote(name | upper) -}}
  {%- else -%}
  {{- mlm.default__identifier(name) -}}
  {%- endif -%}
{%- endmacro %}

{% macro spark__identifier(name) -%}
  {{- adapter.quote(name | replace('`', '``')) -}}
{%- endmacro %}

{% macro bigquery__identifier(name) -%}
  {{- adapter.quote(name | replace('\\', '\\\\') | replace('`', '\\`')) -}}
{%- endmacro %}
