{# Raises a compiler error if two columns would have the same name, ignoring case: the warehouse would rename one of them or
   fail, and their sums could be confused. columns: list of [name, what it is]; macro: the name of the macro that makes
   them. #}
{% macro names_apart(columns, macro) %}
  {{- return(adapter.dispatch('names_apart', 'mlm')(columns, macro)) -}}
{% endmacro %}

{% macro default__names_apart(columns, macro) -%}
  {%- set owners = {} -%}
  {%- for name, what in columns -%}
    {%- if name | lower in owners -%}
      {{ exceptions.raise_compiler_error(
        "mlm." ~ macro ~ "() would call two columns " ~ name ~ ": " ~ owners[name | lower] ~ ", and " ~ what
        ~ ". Rename a column in a model before it.") }}
    {%- endif -%}
    {%- set _ = owners.update({name | lower: what}) -%}
  {%- endfor -%}
{%- endmacro %}
