# A bilinear form of two inputs.
data      x[A], u[B], y[C]
parameter w[C, A, B]

z[k] = sum[i, j](x[i] * w[k, i, j] * u[j])
cost = sum[k](squared_error(sigmoid(z[k]), y[k]))
