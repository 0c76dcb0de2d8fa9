{{ mlm.group_means(ref('hsb'), ['ses', 'mathach'], 'school', complete=['ses', 'mathach']) }}
