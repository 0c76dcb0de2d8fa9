select
  i % 30 as school,
  sin(i * 7.3) as hours,
  sin(i * 7.3) / 2 + 2 * sin((i % 30) * 5.7) + cos(i * 3.1) + sin(i * i * 0.7) as score
from range(1200) as r(i)
