# A transformer block of one head: attention and a feed-forward layer, each after a layer norm, with residuals.
data      x[T, D], y[T, D]
parameter g1[D], c1[D], wq[F, D], wk[F, D], wv[E, D], wo[D, E], g2[D], c2[D], w1[H, D], b1[H], w2[D, H], b2[D]

mu1[i] = mean[d](x[i, d])
var1[i] = mean[d]((x[i, d] - mu1[i])**2)
n1[i, d] = c1[d] + g1[d] * (x[i, d] - mu1[i]) / sqrt(var1[i] + 1/100000)
q[i, f] = sum[d](wq[f, d] * n1[i, d])
k[i, f] = sum[d](wk[f, d] * n1[i, d])
v[i, e] = sum[d](wv[e, d] * n1[i, d])
s[i, j] = sum[f](q[i, f] * k[j, f]) / sqrt(F)
p[i, j] = softmax(s[i, j])
o[i, e] = sum[j](p[i, j] * v[j, e])
r[i, d] = x[i, d] + sum[e](wo[d, e] * o[i, e])
mu2[i] = mean[d](r[i, d])
var2[i] = mean[d]((r[i, d] - mu2[i])**2)
n2[i, d] = c2[d] + g2[d] * (r[i, d] - mu2[i]) / sqrt(var2[i] + 1/100000)
z1[i, h] = b1[h] + sum[d](w1[h, d] * n2[i, d])
a1[i, h] = gelu(z1[i, h])
out[i, d] = r[i, d] + b2[d] + sum[h](w2[d, h] * a1[i, h])
cost = sum[i, d](squared_error(out[i, d], y[i, d]))
output out
