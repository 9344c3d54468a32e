# Layer normalisation as one equation.
data      x[D], t[D]
parameter g[D], beta[D]

y[k] = beta[k] + g[k] * (x[k] - mean[l](x[l])) / sqrt(mean[l]((x[l] - mean[m](x[m]))**2) + 1/100000)
cost = sum[k](squared_error(y[k], t[k]))
