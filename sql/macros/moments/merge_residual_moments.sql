{# The sums of a residual structure over disjoint parts. Reads and returns the columns of `residual_moments` without a time;
   units is the number of unit columns, size the number of entries of a row's vector (1, monomials). #}
{% macro merge_residual_moments(relation, units, size) %}
  {{- return(adapter.dispatch('merge_residual_moments', 'mlm')(relation, units, size)) -}}
{% endmacro %}

{% macro default__merge_residual_moments(relation, units, size) %}
select
  {%- for k in range(units) %}
  u_{{ k }},
  {%- endfor %}
  stratum,
  cast(null as varchar) as past_stratum,
  cast(null as double) as gap,
  {%- for i in range(size) %}
  {%- for j in range(i + 1) %}
  sum(now_{{ i }}_{{ j }}) as now_{{ i }}_{{ j }},
  {%- endfor %}
  {%- endfor %}
  sum(log_precision) as log_precision,
  sum(n) as n
from {{ relation }}
group by {% for k in range(units) %}u_{{ k }}, {% endfor %}stratum
order by {% for k in range(units) %}u_{{ k }}, {% endfor %}stratum
{% endmacro %}
