-- Records that a worker node is up, and forgets those that have been silent for too long.
-- KEYS: prefix
-- ARGV: node, silence_ms, then the report's own fields as name, value, … (none: the node ends)
-- Returns 'reported' or 'ended'
local node, silence = ARGV[1], tonumber(ARGV[2])
local report = PREFIX .. 'node:' .. node
redis.call('ZREMRANGEBYSCORE', PREFIX .. 'nodes', '-inf', now - silence)
redis.call('DEL', report)
if #ARGV == 2 then
  redis.call('ZREM', PREFIX .. 'nodes', node)
  return 'ended'
end
redis.call('HSET', report, 'reported_ms', now, unpack(ARGV, 3))
redis.call('PEXPIRE', report, silence)
redis.call('ZADD', PREFIX .. 'nodes', now, node)
redis.call('PEXPIRE', PREFIX .. 'nodes', silence)
return 'reported'
