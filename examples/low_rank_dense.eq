# A dense layer whose weights are a product of two thin matrices.
data      x[m], y[n]
parameter u[n, r], v[m, r], b[n]

z[j] = b[j] + sum[k, q](u[j, q] * v[k, q] * x[k])
cost = sum[j](squared_error(tanh(z[j]), y[j]))
