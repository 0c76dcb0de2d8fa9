select
  *,
  {{ mlm.between('ses', 'school') }} as between_ses,
  {{ mlm.within('ses', 'school') }} as within_ses,
  {{ mlm.center('ses') }} as center_ses,
  {{ mlm.center('ses', at=0.5) }} as ses_from_half,
  {{ mlm.center('size', over='school', relation=ref('hsb')) }} as center_size
from {{ ref('hsb') }}
