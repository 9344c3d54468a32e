# Max pooling over windows of 2 after a pointwise layer; at a tie the gradient is shared evenly.
data      x[C, 2*P], t[C, P]
parameter g[C]
index p < P
index u < 2

a[c, i] = g[c] * x[c, i]
y[c, p] = max[u](a[c, 2*p + u])
cost = sum[c, p](squared_error(y[c, p], t[c, p]))
