-- Sums over the whole namespace.
-- KEYS: prefix
-- Returns {unsettled jobs, running jobs, dead letters, {counter, value, …}}
local unsettled = redis.call('ZCARD', PREFIX .. 'due')
-- What neither waits nor is put off is in a worker's hands.
local running = unsettled - redis.call('SCARD', PREFIX .. 'scheduled')
for _, queue in ipairs(redis.call('HKEYS', PREFIX .. 'sequence')) do
  running = running - redis.call('ZCARD', WAITING .. queue)
end
local dead, counts = redis.call('ZCARD', PREFIX .. 'dead'), redis.call('HGETALL', PREFIX .. 'counts')
return { unsettled, math.max(running, 0), dead, counts }
