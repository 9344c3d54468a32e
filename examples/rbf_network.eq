# A network of radial basis functions.
data      x[D], y
parameter centre[K, D], g[K], w[K]

phi[k] = exp(-g[k]**2 * sum[d]((x[d] - centre[k, d])**2))
cost = squared_error(sum[k](w[k] * phi[k]), y)
