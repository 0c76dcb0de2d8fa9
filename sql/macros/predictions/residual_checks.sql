{# One row about the residuals of a model's predictions: n, mean, second, third, fourth (central moments of
   std_residual), largest (its greatest absolute value), quantiles (a list), square_mean and square_std_dev (of its
   square), correlations (a list: of its square with each predictor), share, and binned: a list of
   {term, bin, n, at, mean, std_dev}, the residuals in bins of each predictor, cut at the quantiles of one row in share.
   predictions: a SELECT with residual, std_residual, new_group and the columns named in predictors; it is read once.
   probabilities: of the quantiles; cuts: probabilities at which bins end; predictors: names of columns; row_hash: name
   of a hash of each row; enough_rows: so many are enough to cut bins by, as exact quantiles take most of the time and
   memory. They are chosen by their hash, the same ones each time; where many rows are equal, a few hashes may stand for
   none of a predictor's values, and so all rows count. #}
{% macro residual_checks(predictions, probabilities, cuts, predictors, row_hash, enough_rows) %}
  {{- return(adapter.dispatch('residual_checks', 'mlm')(
    predictions, probabilities, cuts, predictors, row_hash, enough_rows)) -}}
{% endmacro %}

{% macro default__residual_checks(predictions, probabilities, cuts, predictors, row_hash, enough_rows) %}
with mlm_predicted as (
  {{ predictions }}
),
mlm_residuals as materialized (
  select
    {%- for predictor in predictors %}
    {{ mlm.identifier(predictor) }} as x{{ loop.index0 }},
    {%- endfor %}
    residual,
    std_residual,
    {{ mlm.identifier(row_hash) }} as row_hash
  from mlm_predicted
  where std_residual is not null and not new_group
),
mlm_summary as (
  select
    count(*) as n,
    case
      when 4 * approx_count_distinct(row_hash) > count(*) then greatest(count(*) // {{ enough_rows }}, 1)
      else 1
    end as share,
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
    avg(deviation * deviation) as second,
    avg(deviation * deviation * deviation) as third,
    avg(deviation * deviation * (deviation * deviation)) as fourth
  from (select std_residual - mean as deviation from mlm_residuals cross join mlm_summary)
),
mlm_cuts as (
  select
    {%- for predictor in predictors %}
    quantile_cont(x{{ loop.index0 }}, [{{ cuts | join(', ') }}]) as cuts_{{ loop.index0 }}{{ ',' if not loop.last }}
    {%- endfor %}
  from mlm_residuals
  cross join mlm_summary
  -- of two types these would become hugeints, which take a hundred times as long
  where row_hash % share::ubigint = 0
),
mlm_placed as (
  {%- for predictor in predictors %}
  {%- set i = loop.index0 %}
  select
    {{ i }} as term,
    x{{ i }} as x,
    residual,
    {{ mlm.bin_of('x' ~ i, 'cuts_' ~ i, 0, cuts | length) }} as bin
  from mlm_residuals
  cross join mlm_cuts
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
  share,
  (select list(found order by term, bin) from mlm_binned as found) as binned
from mlm_summary
cross join mlm_shape
{% endmacro %}
