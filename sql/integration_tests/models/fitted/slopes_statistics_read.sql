-- the view is fitted anew when it is read
select n_obs, log_likelihood from {{ ref('slopes_statistics') }}
