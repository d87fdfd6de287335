-- The jobs whose next-look time has come. One node looks at a time.
-- KEYS: prefix
-- ARGV: node, hold_ms (0: the node does not sweep any more), limit
-- Returns the ids, or 'elsewhere' when another node sweeps.
local holder = redis.call('GET', PREFIX .. 'sweeper')
if holder and holder ~= ARGV[1] then return 'elsewhere' end
if ARGV[2] == '0' then
  redis.call('DEL', PREFIX .. 'sweeper')
  return 'elsewhere'
end
write_when_full()
redis.call('SET', PREFIX .. 'sweeper', ARGV[1], 'PX', ARGV[2])
count('sweeps')
return redis.call('ZRANGEBYSCORE', PREFIX .. 'due', '-inf', now, 'LIMIT', 0, ARGV[3])
