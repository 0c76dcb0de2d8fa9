{# One row about the residuals of a model's predictions: n, mean, second, third, fourth (central moments of std_residual),
   largest (its greatest absolute value), quantiles (a list), square_mean and square_std_dev (of its square), correlations
   (a list: of its square with each predictor), and binned: a list of {term, bin, n, at, mean, std_dev},
   the residuals in bins of each predictor, cut at its quantiles.
   predictions: a SELECT with residual, std_residual, new_group and the columns named in predictors; it is read once.
   probabilities: of the quantiles; cuts: probabilities at which bins end; predictors: names of columns. #}
{% macro residual_checks(predictions, probabilities, cuts, predictors) %}
  {{- return(adapter.dispatch('residual_checks', 'mlm')(predictions, probabilities, cuts, predictors)) -}}
{% endmacro %}

{% macro default__residual_checks(predictions, probabilities, cuts, predictors) %}
with mlm_predicted as (
  {{ predictions }}
),
mlm_residuals as materialized (
  select
    {%- for predictor in predictors %}
    {{ mlm.identifier(predictor) }} as x{{ loop.index0 }},
    {%- endfor %}
    residual,
    std_residual
  from mlm_predicted
  where std_residual is not null and not new_group
),
mlm_summary as (
  select
    {%- for predictor in predictors %}
    quantile_cont(x{{ loop.index0 }}, [{{ cuts | join(', ') }}]) as cuts_{{ loop.index0 }},
    {%- endfor %}
    count(*) as n,
    avg(std_residual) as mean,
    max(abs(std_residual)) as largest,
    avg(std_residual * std_residual) as square_mean,
    stddev_pop(std_residual * std_residual) as square_std_dev,
    [
      {%- for predictor in predictors %}
      corr(std_residual * std_residual, x{{ loop.index0 }}){{ ',' if not loop.last }}
      {%- endfor %}
    ] as correlations,
    quantile_cont(std_residual, [{{ probabilities | join(', ') }}]) as quantiles
  from mlm_residuals
),
mlm_shape as (
  select
    avg(power(std_residual - mean, 2)) as second,
    avg(power(std_residual - mean, 3)) as third,
    avg(power(std_residual - mean, 4)) as fourth
  from mlm_residuals
  cross join mlm_summary
),
mlm_placed as (
  {%- for predictor in predictors %}
  {%- set i = loop.index0 %}
  select
    {{ i }} as term,
    x{{ i }} as x,
    residual,
    {% for cut in cuts %}(x{{ i }} > cuts_{{ i }}[{{ loop.index }}])::integer{{ ' + ' if not loop.last }}{% endfor %} as bin
  from mlm_residuals
  cross join mlm_summary
  {{- '
  union all' if not loop.last }}
  {%- endfor %}
),
mlm_binned as (
  select
    term,
    bin,
    count(*) as n,
    avg(x) as at,
    avg(residual) as mean,
    stddev_samp(residual) as std_dev
  from mlm_placed
  group by term, bin
)
select
  n,
  mean,
  second,
  third,
  fourth,
  largest,
  quantiles,
  square_mean,
  square_std_dev,
  correlations,
  (select list(found order by term, bin) from mlm_binned as found) as binned
from mlm_summary
cross join mlm_shape
{% endmacro %}
