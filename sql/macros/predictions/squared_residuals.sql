{# One row of sums over the rows of a regression, each row scaled to the same variance: n, leverage (the sum of the rows'
   leverages, which is the number of coefficients), and products: a list of the sums of q_a q_b e^2 / (1 - leverage)^power
   for a = 0, 1, ... and b = 0, ..., a. A row that decides a coefficient alone has no residual, and adds nothing.
   predictions: a SELECT with residual and the columns that the directions are made of; scale: SQL of one over the
   residual's standard deviation; directions: SQL of q_0, q_1, ..., orthonormal over all rows once scaled. #}
{% macro squared_residuals(predictions, scale, directions, power) %}
  {{- return(adapter.dispatch('squared_residuals', 'mlm')(predictions, scale, directions, power)) -}}
{% endmacro %}

{% macro default__squared_residuals(predictions, scale, directions, power) %}
with mlm_predicted as (
  {{ predictions }}
),
mlm_scaled as (
  select
    {%- for direction in directions %}
    ({{ direction }}) * ({{ scale }}) as q{{ loop.index0 }},
    {%- endfor %}
    residual * ({{ scale }}) as e
  from mlm_predicted
  where residual is not null
),
mlm_leverages as (
  select
    *,
    {% for direction in directions %}q{{ loop.index0 }} * q{{ loop.index0 }}{{ ' + ' if not loop.last }}{% endfor %} as h
  from mlm_scaled
),
mlm_squares as (
  select
    *,
    case when h < 1 - 1e-10 then e * e / power(1 - h, {{ power }}) else 0.0e0 end as square
  from mlm_leverages
)
select
  count(*) as n,
  sum(h) as leverage,
  [
    {%- for _ in directions %}
    {%- set a = loop.index0 %}
    {%- for b in range(a + 1) %}
    sum(q{{ a }} * q{{ b }} * square){{ ',' if not (loop.last and a + 1 == directions | length) }}
    {%- endfor %}
    {%- endfor %}
  ] as products
from mlm_squares
{% endmacro %}
