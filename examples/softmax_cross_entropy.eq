# Softmax regression.
data      x[m], y[n]
parameter w[n, m], b[n]

z[j] = b[j] + sum[k](w[j, k] * x[k])
p[j] = softmax(z[j])
cost = sum[j](cross_entropy(p[j], y[j]))
