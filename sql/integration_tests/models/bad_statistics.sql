{{ config(enabled=var('bad_data', false)) }}
-- One fit that stopped early, one with a variance of zero, one without a fault
select 'early' as model, false as converged, false as singular
union all
select 'flat' as model, true as converged, true as singular
union all
select 'good' as model, true as converged, false as singular
