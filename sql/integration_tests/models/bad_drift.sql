{{ config(enabled=var('bad_data', false)) }}
select 'previous' as against, 'ses' as term, true as flagged
union all
select 'baseline' as against, 'size' as term, true as flagged
union all
select 'baseline' as against, 'ses' as term, false as flagged
