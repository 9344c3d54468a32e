# A convolution with stride 2 and dilation 3.
data      x[2*(P - 1) + 3*(K - 1) + 1], t[P]
parameter h[K]

y[p] = sum[q](h[q] * x[2*p + 3*q])
cost = sum[p](squared_error(tanh(y[p]), t[p]))
