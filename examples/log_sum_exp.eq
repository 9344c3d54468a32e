# The same cost through log-sum-exp: no probability is ever formed.
data      x[m], y[n]
parameter w[n, m]

z[j] = sum[k](w[j, k] * x[k])
cost = logsumexp[j](z[j]) - sum[j](y[j] * z[j])
