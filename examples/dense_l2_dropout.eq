# Two dense layers; the dropout mask is data, the weights are penalised once for the whole batch.
data      x[m], mask[h], y[n]
parameter w1[h, m], b1[h], w2[n, h], b2[n], lam

z1[j] = b1[j] + sum[k](w1[j, k] * x[k])
a1[j] = mask[j] * tanh(z1[j])
z2[j] = b2[j] + sum[k](w2[j, k] * a1[k])
a2[j] = sigmoid(z2[j])
cost = sum[j](squared_error(a2[j], y[j])) + lam * (sum[j, k](w1[j, k]**2) + sum[j, k](w2[j, k]**2))
