{{ mlm.group_means(ref('students'), ['mathach', env_var('MLM_ODD')], 'school', complete=['sector', 'ses']) }}
