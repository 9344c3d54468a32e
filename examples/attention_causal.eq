# Causal attention: position i looks at positions j <= i only.
data      x[T, D], t[T, E]
parameter wq[F, D], wk[F, D], wv[E, D]

q[i, f] = sum[d](wq[f, d] * x[i, d])
k[i, f] = sum[d](wk[f, d] * x[i, d])
v[i, e] = sum[d](wv[e, d] * x[i, d])
s[i, j] = sum[f](q[i, f] * k[j, f]) / sqrt(F)
l[i] = logsumexp[j : j <= i](s[i, j])
o[i, e] = sum[j : j <= i](exp(s[i, j] - l[i]) * v[j, e])
cost = sum[i, e](squared_error(o[i, e], t[i, e]))
