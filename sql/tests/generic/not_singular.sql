{# No model of a table with the column singular, such as fit_statistics or sem_fit, has a variance of zero or a correlation of
   one. #}
{% test not_singular(model) %}
select
  *,
  'a variance is zero or a correlation is one, which a simpler random part would not have' as problem
from {{ model }}
where {{ mlm.identifier('singular') }}
{% endtest %}
