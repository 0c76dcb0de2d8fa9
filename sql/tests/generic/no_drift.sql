{# No number of a table drift is flagged as changed since the run that it is compared with. against: previous or baseline, to
   look at one of these comparisons alone. #}
{% test no_drift(model, against=none) %}
select
  *,
  'the number has changed by more than chance' as problem
from {{ model }}
where {{ mlm.identifier('flagged') }}
{%- if against is not none %}
  and {{ mlm.identifier('against') }} = {{ mlm.literal(against) }}
{%- endif %}
{% endtest %}
