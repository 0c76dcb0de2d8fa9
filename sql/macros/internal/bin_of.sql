{# The number of the bin of a value, from first to last, where the k-th cut of an ascending list is the end of bin
   k - 1. Each comparison halves what is left, which takes half the time of comparing with all cuts. #}
{% macro bin_of(value, cuts, first, last) %}
  {{- return(adapter.dispatch('bin_of', 'mlm')(value, cuts, first, last)) -}}
{% endmacro %}

{% macro default__bin_of(value, cuts, first, last) -%}
  {%- set middle = (first + last) // 2 -%}
  {%- if first == last -%}
  {{ first }}
  {%- else -%}
  case when {{ value }} > {{ cuts }}[{{ middle + 1 }}] then {{ mlm.bin_of(value, cuts, middle + 1, last) -}}
  {{- ' ' }}else {{ mlm.bin_of(value, cuts, first, middle) }} end
  {%- endif -%}
{%- endmacro %}
