{{ mlm.group_moments(ref('students'), ['mathach', 'ses'], ['sex', 'school'], constants=['sector', 'size']) }}
