{# Each model of a table with the column converged, such as fit_statistics or sem_fit, has reached its optimum. #}
{% test converged(model) %}
select
  *,
  'the fit has not reached its optimum, so its numbers are those of where it stopped' as problem
from {{ model }}
where not coalesce({{ mlm.identifier('converged') }}, false)
{% endtest %}
