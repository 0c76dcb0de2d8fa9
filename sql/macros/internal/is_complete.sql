{# Whether a row has a value in every one of these expressions; NaN counts as missing, as in R. #}
{% macro is_complete(numbers, others=[]) %}
  {{- return(adapter.dispatch('is_complete', 'mlm')(numbers, others)) -}}
{% endmacro %}

{% macro default__is_complete(numbers, others=[]) %}
  {%- for expression in numbers %}{{ expression }} is not null and not {{ mlm.is_nan(expression) }} and {% endfor -%}
  {%- for expression in others %}{{ expression }} is not null and {% endfor -%}
  true
{%- endmacro %}
