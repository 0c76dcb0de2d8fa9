{# Raises a compiler error if two columns would have the same name, ignoring case, or one a name too long for the warehouse,
   which would rename or cut it or fail, and their sums could be confused. columns: list of [name, what it is]; macro: the
   name of the macro that makes them. #}
{% macro refuse_equal_names(columns, macro) %}
  {{- return(adapter.dispatch('refuse_equal_names', 'mlm')(columns, macro)) -}}
{% endmacro %}

{% macro default__refuse_equal_names(columns, macro) -%}
  {%- set owners = {} -%}
  {%- set longest = mlm.longest_name() | trim | int -%}
  {%- for name, what in columns -%}
    {%- if name | lower in owners -%}
      {{ exceptions.raise_compiler_error(
        "mlm." ~ macro ~ "() would call two columns " ~ name ~ ": " ~ owners[name | lower] ~ ", and " ~ what
        ~ ". Rename a column in a model before it.") }}
    {%- endif -%}
    {%- set bytes = name.encode('utf-8') | length -%}
    {#- not while dbt parses, which reads models too that are disabled for this target -#}
    {%- if longest and bytes > longest and execute -%}
      {{ exceptions.raise_compiler_error(
        "mlm." ~ macro ~ "() would give " ~ what ~ " the name " ~ name ~ ", of " ~ bytes ~ " bytes, and names in this "
        ~ "warehouse have at most " ~ longest ~ ". Give its columns shorter names in a model before it.") }}
    {%- endif -%}
    {%- set _ = owners.update({name | lower: what}) -%}
  {%- endfor -%}
{%- endmacro %}
