{# Raises a compiler error if two columns of a table of moments would have the same name. keys: the group's columns; centers:
   the columns whose grand means are in the table; names: of the columns and products whose means and scatters are;
   constants: the columns with one value a group; macro: the name of the macro that makes the table. #}
{% macro refuse_equal_names_of_moments(keys, centers, names, constants, macro) %}
  {{- return(adapter.dispatch('refuse_equal_names_of_moments', 'mlm')(keys, centers, names, constants, macro)) -}}
{% endmacro %}

{% macro default__refuse_equal_names_of_moments(keys, centers, names, constants, macro) -%}
  {%- set columns = [] -%}
  {%- for key in keys -%}
    {%- set _ = columns.append([key, "the group's column " ~ key]) -%}
  {%- endfor -%}
  {%- set _ = columns.append(['n', "the groups' sizes"]) -%}
  {%- for column in centers -%}
    {%- set _ = columns.append(['center_' ~ column, 'the grand mean of ' ~ column]) -%}
  {%- endfor -%}
  {%- for name in names -%}
    {%- set _ = columns.append(['mean_' ~ name, 'the mean of ' ~ name]) -%}
    {%- for other in names[:loop.index] -%}
      {%- set _ = columns.append(['scatter_' ~ name ~ '_' ~ other, 'the scatter of ' ~ name ~ ' and ' ~ other]) -%}
    {%- endfor -%}
  {%- endfor -%}
  {%- for column in constants -%}
    {%- set _ = columns.append(['value_' ~ column, 'the value of ' ~ column]) -%}
  {%- endfor -%}
  {{- mlm.refuse_equal_names(columns, macro) -}}
{%- endmacro %}
