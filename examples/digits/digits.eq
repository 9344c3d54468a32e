# digits.eq — a 64-32-10 network that reads handwritten digits
data      x[64], y[10]                        # 8 × 8 grey values; y is 1 at the digit, 0 elsewhere
parameter w1[32, 64], b1[32]
parameter w2[10, 32], b2[10]

z1[j] = b1[j] + sum[k](w1[j, k] * x[k])
a1[j] = tanh(z1[j])

z2[j] = b2[j] + sum[k](w2[j, k] * a1[k])
a2[j] = softmax(z2[j])

cost = sum[j](cross_entropy(a2[j], y[j]))
