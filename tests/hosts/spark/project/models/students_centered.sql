{{ mlm.centered(ref('students'), ['ses', env_var('MLM_ODD')], 'school', complete=['mathach', 'sector']) }}
