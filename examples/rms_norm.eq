# Root-mean-square normalisation, step by step.
data      x[D], t[D]
parameter g[D]

r = sqrt(mean[l](x[l]**2) + 1/100000)
y[k] = g[k] * x[k] / r
cost = sum[k](squared_error(y[k], t[k]))
