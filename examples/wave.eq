# A wave on a string with fixed ends: its speed at each place, learnt from how the string moves.
data      start[N], seen[T, N]
parameter c[N], dt

u[0, i] = start[i]
u[1, i] = start[i]
bend[t, i] = where(i >= 1, u[t - 1, i - 1], 0) - 2*u[t - 1, i] + where(i + 1 < N, u[t - 1, i + 1], 0)
u[t, i] = 2*u[t - 1, i] - u[t - 2, i] + (c[i]*dt)**2 * bend[t, i]
index t < T + 2
cost = mean[s, i](squared_error(u[s + 2, i], seen[s, i]))
