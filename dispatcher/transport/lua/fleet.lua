-- Sums over the whole namespace.
-- KEYS: prefix
-- Returns {unsettled jobs, running jobs, dead letters, {counter, value, …}}
return { redis.call('ZCARD', key('due')), redis.call('SCARD', key('running')), redis.call('ZCARD', key('dead')),
  redis.call('HGETALL', key('counts')) }
