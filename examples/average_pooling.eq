# Average pooling over 2x2 windows after a pointwise layer.
data      x[C, 2*P, 2*Q], t[C, P, Q]
parameter g[C]
index p < P
index q < Q
index u < 2
index v < 2

a[c, i, j] = tanh(g[c] * x[c, i, j])
y[c, p, q] = mean[u, v](a[c, 2*p + u, 2*q + v])
cost = sum[c, p, q](squared_error(y[c, p, q], t[c, p, q]))
