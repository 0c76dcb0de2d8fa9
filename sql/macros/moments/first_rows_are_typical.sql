{# One row with the number of rows n_rows, and whether the moments of a guess serve: they are of all rows, the centers
   lie near the grand means, and what was taken for constant within units is, and finite.
   moments: a relation as of the macro moments; rows: what they are of; far: standard deviations. #}
{% macro first_rows_are_typical(moments, rows, monomials, constants, far) %}
  {{- return(adapter.dispatch('first_rows_are_typical', 'mlm')(moments, rows, monomials, constants, far)) -}}
{% endmacro %}

{% macro default__first_rows_are_typical(moments, rows, monomials, constants, far) %}
with present as (
  select count(*) as n_rows
  from {{ rows }}
),
totals as (
  select
    {%- for i in range(monomials) %}
    sum(n * mean_{{ i }}) / sum(n) as distance_{{ i }},
    sum(scatter_{{ i }}_{{ i }} + n * mean_{{ i }} * mean_{{ i }}) / sum(n) as square_{{ i }},
    {%- endfor %}
    {%- for i in range(constants) %}
    sum(case when low_{{ i }} = high_{{ i }} and isfinite(low_{{ i }}) then 0 else 1 end) as n_varying_{{ i }},
    {%- endfor %}
    sum(n) as n_complete
  from {{ moments }}
)
select
  n_rows,
  coalesce(
    n_complete = n_rows
    {%- for i in range(monomials) %}
    and isfinite(square_{{ i }})
    and distance_{{ i }} * distance_{{ i }} <= {{ far * far }} * (square_{{ i }} - distance_{{ i }} * distance_{{ i }})
    {%- endfor %}
    {%- for i in range(constants) %}
    and n_varying_{{ i }} = 0
    {%- endfor %},
    false) as holds
from present
cross join totals
{% endmacro %}
