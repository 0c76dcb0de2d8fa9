-- Rows as they come: NaN and nulls in columns of several types, the text 'NaN', booleans, names with quotes and long ones
{% set number = 'numeric' if target.type == 'postgres' else 'double precision' %}
select
  case when mathach between 10 and 10.05 then null else school end as school,
  case when mathach between 11 and 11.03 then null else mathach end as mathach,
  case when mathach between 12 and 12.05 then cast('NaN' as double precision) else ses end as ses,
  case when mathach between 13 and 13.05 then cast('NaN' as {{ number }}) else cast(minority as {{ number }}) end as minority,
  case when mathach between 14 and 14.02 then null else female = 1 end as is_female,
  case when mathach between 15 and 15.05 then 'NaN' else sex end as sex,
  case when mathach between 16 and 16.02 then null else sector = 'Public' end as is_public,
  size,
  1000 + minority + 0.25 * female as "a ""b"";c",
  ses as "minutes_of_mathematics_at_home_in_a_week"
from {{ ref('hsb') }}
