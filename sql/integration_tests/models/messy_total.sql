-- parts by sex, of which some schools have one
with parts as (
  {{ mlm.group_moments(ref('messy'), ['mathach', 'is_female'], ['school', 'sex'], constants=['is_public']) }}
)
select total.*
from (
  {{ mlm.merge_group_moments('parts', ['mathach', 'is_female'], 'school', constants=['is_public']) }}
) as total
