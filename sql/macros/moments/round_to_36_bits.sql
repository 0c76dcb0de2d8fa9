{# A double rounded to 36 of its 53 bits (Veltkamp's splitting: c - (c - x) with c = (2^17 + 1) x, exact in double
   arithmetic). The last bits of a mean depend on the order in which a parallel scan adds the rows; without them the center
   is the same in every scan, and so are the moments. #}
{% macro round_to_36_bits(expression) %}
  {{- return(adapter.dispatch('round_to_36_bits', 'mlm')(expression)) -}}
{% endmacro %}

{% macro default__round_to_36_bits(expression) -%}
  131073.0e0 * {{ expression }} - (131073.0e0 * {{ expression }} - {{ expression }})
{%- endmacro %}
