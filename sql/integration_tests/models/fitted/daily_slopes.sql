{{ mlm.fit('mathach ~ within(ses) + (1 | school)', ref('daily_scores'), table='fit_statistics') }}
