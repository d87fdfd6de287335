-- Makes kept results, and those of the calls that are under way, useless for calls that come from now on.
-- KEYS: prefix
-- ARGV: keep_ms, how many topics follow, the topics, then names of single calls
-- Returns the invalidation's number
local number = redis.call('HINCRBY', PREFIX .. 'epochs', 'last', 1)
local topics = tonumber(ARGV[2])
for i = 3, 2 + topics do redis.call('HSET', PREFIX .. 'epochs', ARGV[i], number) end
for i = 3 + topics, #ARGV do
  -- It stays until no job can end any more that was accepted before.
  redis.call('SET', PREFIX .. 'cache:' .. ARGV[i], number .. ' -', 'PX', ARGV[1])
  redis.call('DEL', PREFIX .. 'flight:' .. ARGV[i])
end
count('invalidations')
return number
