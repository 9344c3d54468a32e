# Layer normalisation, step by step.
data      x[D], t[D]
parameter g[D], beta[D]

mu = mean[k](x[k])
variance = mean[k]((x[k] - mu)**2)
h[k] = (x[k] - mu) / sqrt(variance + 1/100000)
y[k] = g[k] * h[k] + beta[k]
cost = sum[k](squared_error(y[k], t[k]))
