# A recurrent network over time; h[0] is learned.
data      x[T, X], y[H]
parameter u[H, H], w[H, X], b[H], h0[H]

h[0, i] = h0[i]
h[t, i] = tanh(b[i] + sum[j](u[i, j] * h[t - 1, j]) + sum[k](w[i, k] * x[t - 1, k]))
cost = sum[i](squared_error(h[T, i], y[i]))
