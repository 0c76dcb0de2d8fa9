{# One row with the number of rows, which a table knows without reading them. #}
{% macro row_count(relation) %}
  {{- return(adapter.dispatch('row_count', 'mlm')(relation)) -}}
{% endmacro %}

{% macro default__row_count(relation) %}
select count(*) as n_rows
from {{ relation }}
{% endmacro %}
