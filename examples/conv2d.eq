# A 3x3 convolution over channels with bias, stride 2 and a border of zeros.
data      x[C, 2*P, 2*Q], t[O, P, Q]
parameter w[O, C, 3, 3], b[O]
index p < P
index q < Q

y[o, p, q] = b[o] + sum[c, u, v](w[o, c, u, v] * where(0 <= 2*p + u - 1 and 2*p + u - 1 < 2*P and 0 <= 2*q + v - 1 and 2*q + v - 1 < 2*Q, x[c, 2*p + u - 1, 2*q + v - 1], 0))
a[o, p, q] = relu(y[o, p, q])
cost = sum[o, p, q](squared_error(a[o, p, q], t[o, p, q]))
