{# The sums for a residual structure: for each unit, stratum and, with a time, each gap to the previous row of the unit, the
   size and the cross-products of the rows' vectors v = sqrt(precision) * (1, monomials): of v with itself (now), of v
   with that of the previous row (cross, both ways), and of the previous row with itself (past). The first row of a unit
   has no gap. Arguments as in `moments`; precision, stratum, time: expressions, or none. #}
{% macro residual_moments(relation, units, variables, monomials, complete, precision=none, stratum=none, time=none) %}
  {{- return(adapter.dispatch('residual_moments', 'mlm')(
    relation, units, variables, monomials, complete, precision, stratum, time)) -}}
{% endmacro %}

{% macro default__residual_moments(relation, units, variables, monomials, complete, precision=none, stratum=none, time=none) %}
{%- set size = monomials | length + 1 %}
with centered as (
  select
    {%- for unit in units %}
    {{ unit }} as u_{{ loop.index0 }},
    {%- endfor %}
    {%- for variable in variables %}
    {{ variable.expression }} - {{ variable.center }} as {{ variable.alias }},
    {%- endfor %}
    sqrt({{ precision if precision is not none else '1.0' }}) as root,
    {{ stratum if stratum is not none else "''" }} as stratum,
    {{ time if time is not none else '0' }} as place
  from {{ relation }}
  where {{ complete }}
),
vectors as (
  select
    {%- for unit in units %}
    u_{{ loop.index0 }},
    {%- endfor %}
    root as v_0,
    {%- for factors in monomials %}
    root * {{ factors | join(' * ') }} as v_{{ loop.index }},
    {%- endfor %}
    2 * ln(root) as log_precision,
    stratum,
    place
  from centered
),
pairs as (
  select
    *
    {%- if time is not none %},
    {%- for i in range(size) %}
    lag(v_{{ i }}) over rows_in_time as p_{{ i }},
    {%- endfor %}
    lag(stratum) over rows_in_time as past_stratum,
    place - lag(place) over rows_in_time as gap
    {%- else %},
    cast(null as varchar) as past_stratum,
    cast(null as double) as gap
    {%- endif %}
  from vectors
  {%- if time is not none %}
  window rows_in_time as (
    {%- if units %}partition by {% for unit in units %}u_{{ loop.index0 }}{{ ', ' if not loop.last }}{% endfor %} {% endif -%}
    order by place)
  {%- endif %}
),
sums as (
  select
    {%- for unit in units %}
    u_{{ loop.index0 }},
    {%- endfor %}
    stratum,
    past_stratum,
    gap,
    {%- for i in range(size) %}
    {%- for j in range(i + 1) %}
    sum(v_{{ i }} * v_{{ j }}) as now_{{ i }}_{{ j }},
    {%- if time is not none %}
    sum(v_{{ i }} * p_{{ j }} + p_{{ i }} * v_{{ j }}) as cross_{{ i }}_{{ j }},
    sum(p_{{ i }} * p_{{ j }}) as past_{{ i }}_{{ j }},
    {%- endif %}
    {%- endfor %}
    {%- endfor %}
    sum(log_precision) as log_precision,
    {{ mlm.number('count(*)') }} as n
  from pairs
  group by {% for unit in units %}u_{{ loop.index0 }}, {% endfor %}stratum, past_stratum, gap
)
select * from sums
order by {% for unit in units %}u_{{ loop.index0 }}, {% endfor %}stratum, past_stratum, gap
{% endmacro %}
