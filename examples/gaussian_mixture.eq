# Negative log-likelihood of a mixture of isotropic Gaussians.
data      x[D]
parameter logit[K], mu[K, D], logs[K]

distance[k] = sum[d]((x[d] - mu[k, d])**2)
l[k] = logit[k] - D * logs[k] - distance[k] * exp(-2 * logs[k]) / 2 - D * log(2 * pi) / 2
cost = logsumexp[k](logit[k]) - logsumexp[k](l[k])
