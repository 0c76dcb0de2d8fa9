{{ mlm.decomposition(ref('hsb'), ['mathach', 'ses', 'size'], 'school') }}
