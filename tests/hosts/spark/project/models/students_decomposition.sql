{{ mlm.decomposition(ref('students'), ['mathach', 'ses', env_var('MLM_ODD')], 'school') }}
