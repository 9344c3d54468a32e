# Pairwise interactions of low rank.
data      x[n], y
parameter w0, w[n], v[n, F]

yhat = w0 + sum[i](w[i] * x[i]) + sum[i, j : i < j](sum[f](v[i, f] * v[j, f]) * x[i] * x[j])
cost = squared_error(yhat, y)
