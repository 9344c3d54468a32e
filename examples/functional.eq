# The action of a particle on a line in a double well, discretised; its inputs are four physical constants.
data      x[N + 1]
parameter mass, stiffness, quartic, dt
index k < N

v[k] = (x[k + 1] - x[k]) / dt
kinetic = sum[k](mass * v[k]**2 / 2)
potential = sum[k](quartic * x[k]**4 / 4 - stiffness * x[k]**2 / 2)
cost = dt * (kinetic - potential)
