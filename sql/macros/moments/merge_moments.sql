{# The moments of the union of disjoint parts, by the parallel-axis rule: means are weighted by size, and the scatter of the
   means is added to the scatters (Chan, Golub and LeVeque 1983). Reads and returns the columns of `moments`; units,
   monomials and constants are the numbers of these. Subtracting before multiplying keeps the digits. #}
{% macro merge_moments(relation, units, monomials, constants) %}
  {{- return(adapter.dispatch('merge_moments', 'mlm')(relation, units, monomials, constants)) -}}
{% endmacro %}

{% macro default__merge_moments(relation, units, monomials, constants) %}
with centers as (
  select
    {%- for k in range(units) %}
    u_{{ k }},
    {%- endfor %}
    {%- for i in range(monomials) %}
    sum(n * mean_{{ i }}) / sum(n) as mean_{{ i }},
    {%- endfor %}
    {%- for k in range(constants) %}
    min(low_{{ k }}) as low_{{ k }},
    max(high_{{ k }}) as high_{{ k }},
    {%- endfor %}
    sum(n) as n
  from {{ relation }}
  {%- if units %}
  group by {% for k in range(units) %}u_{{ k }}{{ ', ' if not loop.last }}{% endfor %}
  {%- endif %}
),
deviations as (
  select
    {%- for k in range(units) %}
    parts.u_{{ k }},
    {%- endfor %}
    {%- for i in range(monomials) %}
    parts.mean_{{ i }} - centers.mean_{{ i }} as d_{{ i }},
    {%- for j in range(i + 1) %}
    parts.scatter_{{ i }}_{{ j }},
    {%- endfor %}
    {%- endfor %}
    parts.n
  from {{ relation }} as parts
  {%- if units %}
  join centers on {% for k in range(units) %}parts.u_{{ k }} = centers.u_{{ k }}{{ ' and ' if not loop.last }}{% endfor %}
  {%- else %}
  cross join centers
  {%- endif %}
),
scatters as (
  select
    {%- for k in range(units) %}
    u_{{ k }},
    {%- endfor %}
    {%- for i in range(monomials) %}
    {%- for j in range(i + 1) %}
    sum(scatter_{{ i }}_{{ j }} + n * d_{{ i }} * d_{{ j }}) as scatter_{{ i }}_{{ j }},
    {%- endfor %}
    {%- endfor %}
    sum(n) as n
  from deviations
  {%- if units %}
  group by {% for k in range(units) %}u_{{ k }}{{ ', ' if not loop.last }}{% endfor %}
  {%- endif %}
),
merged as (
  select
    {%- for k in range(units) %}
    centers.u_{{ k }},
    {%- endfor %}
    {%- for i in range(monomials) %}
    centers.mean_{{ i }},
    {%- for j in range(i + 1) %}
    scatters.scatter_{{ i }}_{{ j }},
    {%- endfor %}
    {%- endfor %}
    {%- for k in range(constants) %}
    centers.low_{{ k }},
    centers.high_{{ k }},
    {%- endfor %}
    centers.n
  from centers
  {%- if units %}
  join scatters on {% for k in range(units) %}centers.u_{{ k }} = scatters.u_{{ k }}{{ ' and ' if not loop.last }}{% endfor %}
  {%- else %}
  cross join scatters
  {%- endif %}
)
select * from merged
{%- if units %}
order by {% for k in range(units) %}u_{{ k }}{{ ', ' if not loop.last }}{% endfor %}
{%- endif %}
{% endmacro %}
