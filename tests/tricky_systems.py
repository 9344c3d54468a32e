"""Systems made to go wrong: shifts, strides, guards, shared and partial ranges, recurrences, sums in sums.

Each found a fault once, or stands beside one that did.
"""

from __future__ import annotations

__all__ = ["TRICKY"]

TRICKY = {
    "backwards": """
data x[T], y[T + 1]
parameter a
g[T] = a
g[t] = tanh(a*g[t + 1] + x[t])
cost = sum[k]((g[k] - y[k])**2)
""",
    "base_const": """
data x[N]
parameter w[3]
cost = w[0]*sum[i](x[i]) + w[1]*w[2] + sum[k](w[k])*w[0]
""",
    "correlation_2d": """
data x[P + 2, Q + 1], t[P, Q]
parameter w[3, 2], v[P + 2, Q + 1]
y[p, q] = sum[a, b](w[a, b]*(x[p + a, q + b] + v[p + a, q + b]**2))
cost = sum[p, q]((y[p, q] - t[p, q])**2)
""",
    "cum_guard": """
data x[N]
parameter w[N]
index i < N
c[i] = sum[k : k <= i](w[k]*x[k])
cost = sum[i](c[i]**2)
""",
    "cumsum": """
data x[N]
parameter w[N]
c[0] = w[0]
c[t] = c[t - 1] + w[t]*x[t]
cost = sum[t](c[t]**2)
""",
    "dependent": """
data x[N]
parameter a[N, N]
cost = sum[i, j : j <= i](exp(sum[k : k <= j](a[i, k]*x[k])))
""",
    "diag": """
data x[N]
parameter w[N, N]
cost = sum[i](w[i, i]*x[i]) + sum[i, j](w[i, j]**2*w[j, i])
""",
    "fixed_element": """
data x[m], y[n]
parameter w[n, m], c
a[j] = tanh(sum[k](w[j, k]*x[k]))
cost = sum[j]((a[j] - y[j])**4) + exp(c*w[0, 0])
""",
    "fib": """
data y[N + 2], z[N]
parameter a, b
f[0] = a
f[1] = b
f[t + 2] = f[t + 1]*b + sin(f[t]) + z[t]
cost = sum[k](f[k]*y[k])
""",
    "fold_domain": """
data x[2*P]
parameter w
index p < P
y[p] = exp(w*x[p])
v[i] = exp(w*x[i])*x[i]
cost = sum[p](y[p]**2) + sum[i](v[i])
""",
    "fold_domain2": """
data t[2*P]
parameter x[2*P]
index p < P
y[p] = exp(x[p])
v[i] = exp(x[i])*t[i]
cost = sum[p](y[p]**2) + sum[i](v[i]**2)
""",
    "guarded_inner": """
data x[N, K]
parameter w[N, K]
index i < N
cost = sum[i, j : i + j < N](tanh(sum[k](w[i + j, k]*x[i, k]))*x[j, 0])
""",
    "lse_where": """
data x[N]
parameter w[N, N]
l[i] = logsumexp[j : j < i + 1](w[i, j])
p[i, j] = where(j <= i, exp(w[i, j] - l[i]), 0)
cost = sum[i, j](p[i, j]*x[i]*x[j])
""",
    "maxguard": """
data x[n]
parameter w[n]
index i < n
z[i] = max[k : k <= i](w[k]*x[k])
cost = sum[i](z[i]**2)
""",
    "maxs": """
data x[n, m], y[n]
parameter w[m]
z[i] = max[k](w[k]*x[i, k])
u[i] = min[k](w[k]*x[i, k])
cost = sum[i]((z[i]*u[i] - y[i])**2) + max[i](z[i])
""",
    "mean_guard": """
data x[N]
parameter w[N]
m[i] = mean[k](w[k]*x[i])
cost = sum[i](exp(m[i]))*mean[i](w[i]**2)
""",
    "merged_shift": """
data x[K], y
parameter w[J + 1, K]
index j < J
l[i] = sum[k](w[i, k]*x[k])
cost = sum[j](l[j + 1]) + y
""",
    "merged_twice": """
data x[K], y
parameter w[J, K]
l[j] = sum[k](w[j, k]*x[k])
cost = sum[j](l[j]) + sum[j](l[j]**2) - y
""",
    "nest": """
data x[N, M]
parameter w[M]
s[i] = sum[j](w[j]*x[i, j])
cost = sum[i](s[i]*sum[k](s[k]**2))
""",
    "onlyparams": """
data x[n]
parameter w[n]
cost = sum[k](w[k]**2) + 0*x[0]
""",
    "pad1d": """
data x[N]
parameter w[3]
index p < N
y[p] = sum[q](w[q]*where(0 <= p + q - 1 and p + q - 1 < N, x[p + q - 1], 0))
cost = sum[p](y[p]**3)
""",
    "pad1dparam": """
data h[3]
parameter x[N]
index p < N
y[p] = sum[q](h[q]*where(0 <= p + q - 1 and p + q - 1 < N, x[p + q - 1], 0))
cost = sum[p](y[p]**3)
""",
    "power": """
data x[N]
parameter w[N], p
cost = sum[i](abs(x[i] + w[i])**p)
""",
    "prods": """
data x[n], y
parameter w[n]
p = prod[k](w[k]*x[k] + 1)
cost = (p - y)**2
""",
    "regulariser": """
data x[n], y
parameter w[n], lam
reg = lam*sum[k](w[k]**2)
cost = (sum[k](w[k]*x[k]) - y)**2 + reg
""",
    "rnn2": """
data x[T, H], y[T, H]
parameter u[H, H], h0[H]
h[0, i] = h0[i]
h[t, i] = sigmoid(sum[j](u[i, j]*h[t - 1, j]) + x[t - 1, i])
index t2 < T
cost = sum[t2, i](squared_error(h[t2 + 1, i], y[t2, i]))
""",
    "rnn_lse": """
data x[T, H]
parameter u[H, H], h0[H]
h[0, i] = h0[i]
h[t, i] = logsumexp[j](u[i, j]*h[t - 1, j]) + x[t - 1, i]
l[t] = logsumexp[i](h[t, i])
cost = sum[t](l[t]**2)
""",
    "rnn_softmax": """
data x[T, H], y[H]
parameter u[H, H], h0[H]
h[0, i] = h0[i]
h[t, i] = softmax(sum[j](u[i, j]*h[t - 1, j]) + x[t - 1, i])
cost = sum[i](squared_error(h[T, i], y[i]))
""",
    "same_convolution": """
data t[N]
parameter w[5], x[N]
index p < N
index a < 5
u[i] = tanh(x[i])
y[p] = sum[a](w[a]*where(0 <= p + a - 2 and p + a - 2 < N, u[p + a - 2], 0))
cost = sum[p]((y[p] - t[p])**2)
""",
    "scalar_chain": """
data x
parameter a, b
u = a*x
v = u*b + u**2
cost = (v - 1)**2*u
""",
    "shared_domain": """
data x[P + 1, K]
parameter w[K]
index p < P
index q < P + 1
a[p] = sin(sum[k](x[p, k]*w[k]))
b[q] = cos(sum[k](x[q, k]*w[k]))
cost = sum[p](a[p]*b[p+1]) + sum[q](b[q]**2)
""",
    "shared_lse": """
data x[P + 1, K]
parameter w[K]
index p < P
index q < P + 1
a[p] = sin(logsumexp[k](x[p, k]*w[k]))
b[q] = cos(logsumexp[k](x[q, k]*w[k]))
cost = sum[p](a[p]*b[p+1]) + sum[q](b[q]**2)
""",
    "silu_rnn": """
data x[T, X], y[H]
parameter u[H, H], w[H, X]
h[0, i] = 0
h[t, i] = silu(sum[j](u[i, j]*h[t - 1, j]) + sum[k](w[i, k]*x[t - 1, k]))
cost = sum[i](squared_error(h[T, i], y[i]))
""",
    "strideparam": """
data h[K], t[P]
parameter x[2*(P-1) + 3*(K-1) + 1]
y[p] = sum[q](h[q]*x[2*p + 3*q])
cost = sum[p](squared_error(tanh(y[p]), t[p]))
""",
    "toeplitz": """
data x[N], y[N]
parameter r[2*N - 1]
z[i] = sum[j](r[i - j + N - 1]*x[j])
cost = sum[i]((z[i] - y[i])**2)
""",
    "transposed": """
data x[N, M]
parameter w[M, N]
a[i, j] = exp(w[j, i])*x[i, j]
cost = sum[i, j](a[i, j]*a[i, 0]) + sum[j](a[0, j])
""",
    "upsample": """
data t[2*P]
parameter w[P]
index p < P
index u < 2
index i < 2*P
y[i] = sum[p, u : 2*p + u <= i and i <= 2*p + u](w[p])
cost = sum[i]((y[i] - t[i])**3)
""",
    "volterra": """
data x[T], y[T]
parameter a, b
h[0] = x[0]
h[t] = tanh(a*x[t] + b*sum[k : k < t](h[k]*x[t - k]))
cost = sum[t]((h[t] - y[t])**2)
""",
    "whereidx": """
data x[N]
parameter w[N, N]
y[i] = sum[j](where(j < i, w[i, j]*x[j], w[j, i]**2))
cost = sum[i](sin(y[i]))
""",
    "windowed_map": """
data x[N + K - 1], y[N]
parameter w[K]
z[p] = sum[k](w[k]*tanh(x[p + k]))
cost = sum[p]((z[p] - y[p])**2)
""",
}
"""Formula texts by name."""
