{{ mlm.group_moments(ref('students'), ['mathach', 'ses'], 'school', constants=['sector']) }}
