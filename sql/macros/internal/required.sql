{# Raises a compiler error if an argument of a public macro is missing or empty. macro: its name; arguments: those that it must
   have, by name. #}
{% macro required(macro, arguments) %}
  {{- return(adapter.dispatch('required', 'mlm')(macro, arguments)) -}}
{% endmacro %}

{% macro default__required(macro, arguments) -%}
  {%- set kinds = {
    'formula': "a text such as 'y ~ x + (1 | g)'",
    'relation': "the rows, such as ref('students')",
    'column': 'one column, a text',
    'columns': 'a column, or a list of columns',
    'group': 'a column, or a list of columns that name a group together'} -%}
  {%- for name, value in arguments.items() -%}
    {#- a list that a query fills is empty while dbt parses -#}
    {%- set is_empty = value is undefined or value is none or value == ''
      or (value == [] and (execute is undefined or execute)) -%}
    {%- if is_empty or (name in ['formula', 'column'] and value is not string) -%}
      {{ exceptions.raise_compiler_error(
        "mlm." ~ macro ~ "() needs " ~ name ~ "=, " ~ kinds[name] ~ ". Got "
        ~ ("nothing" if is_empty else value) ~ ".") }}
    {%- endif -%}
  {%- endfor -%}
{%- endmacro %}
