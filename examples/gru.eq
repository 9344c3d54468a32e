# A gated recurrent unit over time: the gates r and u, the candidate c, the state h.
data      x[T, X], y[H]
parameter wr[H, X], ur[H, H], br[H], wu[H, X], uu[H, H], bu[H], wn[H, X], un[H, H], bn[H]

h[0, i] = 0
r[t, i] = sigmoid(br[i] + sum[k](wr[i, k] * x[t, k]) + sum[j](ur[i, j] * h[t, j]))
u[t, i] = sigmoid(bu[i] + sum[k](wu[i, k] * x[t, k]) + sum[j](uu[i, j] * h[t, j]))
c[t, i] = tanh(sum[k](wn[i, k] * x[t, k]) + r[t, i] * (bn[i] + sum[j](un[i, j] * h[t, j])))
h[t + 1, i] = (1 - u[t, i]) * c[t, i] + u[t, i] * h[t, i]
cost = sum[i](squared_error(h[T, i], y[i]))
