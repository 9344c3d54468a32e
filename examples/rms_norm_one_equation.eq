# Root-mean-square normalisation as one equation.
data      x[D], t[D]
parameter g[D]

y[k] = g[k] * x[k] / sqrt(mean[l](x[l]**2) + 1/100000)
cost = sum[k](squared_error(y[k], t[k]))
