{%- set rows = ref('three_levels') -%}
{%- set class = ['school', 'class'] -%}
{%- set complete = ['x', 'y', 'school', 'class'] -%}
select
  row_id,
  {{ mlm.between('x', class) }} as class_mean,
  {{ mlm.within('x', class) }} as from_class_mean,
  {{ mlm.between('x', 'school') }} as school_mean_of_rows,
  {{ mlm.between('x', 'school', over=class, relation=rows) }} as school_mean_of_classes,
  {{ mlm.within('x', 'school', over=class, relation=rows) }} as from_school_mean_of_classes,
  {{ mlm.center('x') }} as from_grand_mean,
  {{ mlm.center('x', over=class, relation=rows) }} as from_mean_of_classes,
  {{ mlm.between('x', class, complete=complete) }} as complete_class_mean,
  {{ mlm.within('x', class, complete=complete) }} as complete_from_class_mean,
  {{ mlm.between('x', 'school', complete=complete) }} as complete_school_mean_of_rows,
  {{ mlm.between('x', 'school', complete=complete, over=class, relation=rows) }} as complete_school_mean_of_classes,
  {{ mlm.center('x', complete=complete) }} as complete_from_grand_mean,
  {{ mlm.center('x', complete=complete, over='school', relation=rows) }} as complete_from_mean_of_schools
from {{ rows }}
