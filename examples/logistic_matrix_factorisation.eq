# Implicit feedback: r[u, i] counts, alpha weighs them.
data      r[U, I]
parameter p[U, F], q[I, F], bu[U], bi[I], lam

z[u, i] = bu[u] + bi[i] + sum[f](p[u, f] * q[i, f])
loss = sum[u, i]((1 + r[u, i]) * log(1 + exp(z[u, i])) - r[u, i] * z[u, i])
cost = loss + lam / 2 * (sum[u, f](p[u, f]**2) + sum[i, f](q[i, f]**2))
