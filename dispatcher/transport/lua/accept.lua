-- Accepts a job, or says why not. Accepting the same id again changes nothing, so a lost reply may be asked for again.
-- KEYS: prefix
-- ARGV: id, queue, delay_ms, deadline_ms, digest, idempotency key ('' for none), idempotency_ttl_ms, max_backlog,
--       keep_ms, then the job's own fields as name, value, …
-- Returns {'accepted' | 'known' | 'repeated', id, deadline_ms, sequence}, {'conflict', id} or {'backlog'}
local id, queue = ARGV[1], ARGV[2]
local delay, deadline = tonumber(ARGV[3]), tonumber(ARGV[4])
local now = now_ms()
local jk = job_key(id)

local known = redis.call('HMGET', jk, 'deadline_ms', 'sequence')
if known[1] then return { 'known', id, known[1], known[2] or '0' } end

local idempotency = ARGV[6] ~= '' and key('idempotency:' .. ARGV[6]) or nil
if idempotency then
  local owner = redis.call('HMGET', idempotency, 'digest', 'id', 'deadline_ms')
  if owner[1] == ARGV[5] then
    count('repeated')
    return { 'repeated', owner[2], owner[3], '0' }
  end
  if owner[1] then
    count('refused:idempotency_conflict')
    return { 'conflict', owner[2] }
  end
end
if redis.call('ZCARD', waiting_key(queue)) >= tonumber(ARGV[8]) then
  count('refused:backlog_full')
  return { 'backlog' }
end

local deadline_at, sequence, due = now + deadline, 0, nil
redis.call('HSET', jk, 'queue', queue, 'accepted_ms', now, 'deadline_ms', deadline_at,
  'attempt', 0, 'failures', 0, 'lost', 0, unpack(ARGV, 10))
if delay > 0 then
  due = math.min(now + delay, deadline_at)
  redis.call('HSET', jk, 'state', 'scheduled', 'due_ms', now + delay)
else
  due = deadline_at
  sequence = redis.call('HINCRBY', key('sequence'), queue, 1)
  redis.call('HSET', jk, 'state', 'waiting', 'sequence', sequence, 'published_ms', now)
  wait_in_queue(id, queue, sequence)
end
redis.call('ZADD', key('due'), due, id)
redis.call('PEXPIREAT', jk, deadline_at + tonumber(ARGV[9]))
if idempotency then
  redis.call('HSET', idempotency, 'digest', ARGV[5], 'id', id, 'deadline_ms', deadline_at)
  redis.call('PEXPIREAT', idempotency, deadline_at + tonumber(ARGV[7]))
end
count('accepted')
return { 'accepted', id, tostring(deadline_at), tostring(sequence) }
