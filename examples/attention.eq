# Scaled dot-product attention with learned projections.
data      x[T, D], t[T, E]
parameter wq[F, D], wk[F, D], wv[E, D]

q[i, f] = sum[d](wq[f, d] * x[i, d])
k[i, f] = sum[d](wk[f, d] * x[i, d])
v[i, e] = sum[d](wv[e, d] * x[i, d])
s[i, j] = sum[f](q[i, f] * k[j, f]) / sqrt(F)
p[i, j] = softmax(s[i, j])
o[i, e] = sum[j](p[i, j] * v[j, e])
cost = sum[i, e](squared_error(o[i, e], t[i, e]))
