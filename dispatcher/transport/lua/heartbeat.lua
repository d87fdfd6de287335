-- Keeps the leases of every job a worker process runs, and tells it which must stop.
-- KEYS: prefix
-- ARGV: lease_ms, then id, token, progress ('' for none) for each job
-- Returns a word for each: 'kept', 'cancel:<reason>', 'lost' (another attempt has it, or it is settled)
local lease = tonumber(ARGV[1])
local words = {}
write_when_full()
for i = 2, #ARGV, 3 do
  local jk = JOB .. ARGV[i]
  local job = redis.call('HMGET', jk, 'state', 'attempt', 'cancel')
  if job[1] ~= 'running' or job[2] ~= ARGV[i + 1] then
    words[#words + 1] = 'lost'
  else
    redis.call('HSET', jk, 'lease_ms', now + lease)
    redis.call('ZADD', PREFIX .. 'due', now + lease, ARGV[i])
    if ARGV[i + 2] ~= '' then redis.call('HSET', jk, 'progress', ARGV[i + 2]) end
    words[#words + 1] = job[3] and 'cancel:' .. job[3] or 'kept'
  end
end
return words
