{{ config(enabled=var('bad_data', false)) }}
-- ses does not vary within schools, size does, there are two schools, and n is of no source
select 'A' as school, 1.5 as ses, 100 as size, 'a' as g, 2 as n
union all
select 'A' as school, 1.5 as ses, 110 as size, 'b' as g, 3 as n
union all
select 'B' as school, 2.5 as ses, 90 as size, null as g, 0 as n
