# One dense layer of the documented network: x is the document's a^{L-1}.
data      x[m], y[n]
parameter w[n, m], b[n]

z[j] = b[j] + sum[k](w[j, k] * x[k])
a[j] = sigmoid(z[j])
cost = sum[j](squared_error(a[j], y[j]))
