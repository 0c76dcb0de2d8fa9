{# One row per unit: its keys, its size n, the mean (around fixed centers) and the scatter around the unit's own mean of
   every monomial, and the smallest and largest value of each variable that should be constant within units.
   units: list of expressions; variables: list of {alias, expression, center};
   monomials: list of lists of variables' aliases; constants: list of {alias, expression}.
   Centering before multiplying keeps the digits: see docs/moments.md. Where the units' means lie very far apart,
   around_unit_means subtracts each unit's own mean before multiplying, which costs a window function. #}
{% macro moments(relation, units, variables, monomials, constants, complete, around_unit_means=false) %}
  {{- return(adapter.dispatch('moments', 'mlm')(
    relation, units, variables, monomials, constants, complete, around_unit_means)) -}}
{% endmacro %}

{% macro default__moments(relation, units, variables, monomials, constants, complete, around_unit_means=false) %}
with centered as (
  select
    {%- for unit in units %}
    {{ unit }} as u_{{ loop.index0 }},
    {%- endfor %}
    {%- for variable in variables %}
    {{ variable.expression }} - {{ variable.center }} as {{ variable.alias }},
    {%- endfor %}
    {%- for constant in constants %}
    {{ constant.expression }} as {{ constant.alias }},
    {%- endfor %}
    1 as one
  from {{ relation }}
  where {{ complete }}
),
monomials as (
  select
    {%- for unit in units %}
    u_{{ loop.index0 }},
    {%- endfor %}
    {%- for factors in monomials %}
    {{ factors | join(' * ') }} as m_{{ loop.index0 }},
    {%- endfor %}
    {%- for constant in constants %}
    {{ constant.alias }},
    {%- endfor %}
    one
  from centered
),
{%- if around_unit_means %}
deviations as (
  select
    {%- for unit in units %}
    u_{{ loop.index0 }},
    {%- endfor %}
    {%- for i in range(monomials | length) %}
    avg(m_{{ i }}) over unit as c_{{ i }},
    m_{{ i }} - avg(m_{{ i }}) over unit as m_{{ i }},
    {%- endfor %}
    {%- for constant in constants %}
    {{ constant.alias }},
    {%- endfor %}
    one
  from monomials
  window unit as (
    {%- if units %}partition by {% for unit in units %}u_{{ loop.index0 }}{{ ', ' if not loop.last }}{% endfor %}{% endif -%}
  )
),
{%- endif %}
sums as (
  select
    {%- for unit in units %}
    u_{{ loop.index0 }},
    {%- endfor %}
    {%- for i in range(monomials | length) %}
    {%- if around_unit_means %}
    min(c_{{ i }}) as mean_of_{{ i }},
    {%- endif %}
    sum(m_{{ i }}) as sum_{{ i }},
    {%- for j in range(i + 1) %}
    sum(m_{{ i }} * m_{{ j }}) as sum_{{ i }}_{{ j }},
    {%- endfor %}
    {%- endfor %}
    {%- for constant in constants %}
    {{ mlm.smallest(constant.alias) }} as low_{{ loop.index0 }},
    {{ mlm.largest(constant.alias) }} as high_{{ loop.index0 }},
    {%- endfor %}
    {{ mlm.number('count(*)') }} as n
  from {{ 'deviations' if around_unit_means else 'monomials' }}
  {%- if units %}
  group by {% for unit in units %}u_{{ loop.index0 }}{{ ', ' if not loop.last }}{% endfor %}
  {%- endif %}
),
moments as (
  select
    {%- for unit in units %}
    u_{{ loop.index0 }},
    {%- endfor %}
    n
    {%- for i in range(monomials | length) %},
    {{ 'mean_of_' ~ i ~ ' + ' if around_unit_means }}sum_{{ i }} / n as mean_{{ i }}
    {%- for j in range(i + 1) %},
    sum_{{ i }}_{{ j }} - sum_{{ i }} * sum_{{ j }} / n as scatter_{{ i }}_{{ j }}
    {%- endfor %}
    {%- endfor %}
    {%- for constant in constants %},
    low_{{ loop.index0 }},
    high_{{ loop.index0 }}
    {%- endfor %}
  from sums
)
select * from moments
{%- if units %}
order by {% for unit in units %}u_{{ loop.index0 }}{{ ', ' if not loop.last }}{% endfor %}
{%- endif %}
{% endmacro %}
