-- Keeps a message that is none as a dead letter, with the reason.
-- KEYS: prefix
-- ARGV: id, queue, reason, raw (cut), bytes (before the cut), dead_ms, max_dead
local id = ARGV[1]
redis.call('HSET', JOB .. id, 'state', 'garbage', 'queue', ARGV[2], 'reason', ARGV[3], 'raw', ARGV[4],
  'bytes', ARGV[5], 'received_ms', now)
bury(id, tonumber(ARGV[6]), tonumber(ARGV[7]))
count('garbage')
return 1
