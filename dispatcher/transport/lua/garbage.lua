-- Keeps a message that is none as a dead letter, with the reason.
-- KEYS: prefix
-- ARGV: id, queue, reason, raw (cut), bytes (before the cut), dead_ms, max_dead
local id, now = ARGV[1], now_ms()
redis.call('HSET', job_key(id), 'state', 'garbage', 'queue', ARGV[2], 'reason', ARGV[3], 'raw', ARGV[4],
  'bytes', ARGV[5], 'received_ms', now)
redis.call('PEXPIRE', job_key(id), ARGV[6])
redis.call('ZADD', key('dead'), now, id)
redis.call('PEXPIRE', key('dead'), ARGV[6])
local over = redis.call('ZCARD', key('dead')) - tonumber(ARGV[7])
if over > 0 then
  local popped = redis.call('ZPOPMIN', key('dead'), over)
  for i = 1, #popped, 2 do redis.call('DEL', job_key(popped[i])) end
end
count('garbage')
return over
