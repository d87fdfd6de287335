-- Gives a job to a worker for one attempt, with a fencing token that only this attempt holds.
-- KEYS: prefix
-- ARGV: id, worker, nonce (the same for a repeated request of the same delivery), lease_ms
-- Returns {'leased', token, attempt, failures, lost, now, deadline_ms, accepted_ms, function, idempotency_key, delivery,
--          envelope, done} or {reason}: 'unknown', 'settled:<state>', 'leased_elsewhere', 'not_due',
--         'look' (expired, cancelled or given up: the sweeper's script must settle it)
local id, worker, nonce, lease = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local jk = job_key(id)
local now = now_ms()
local job = redis.call('HMGET', jk, 'state', 'lease_ms', 'nonce', 'deadline_ms', 'due_ms', 'queue', 'sequence', 'attempt',
  'copies', 'published_ms')
local state = job[1]
if not state then return { 'unknown' } end
if SETTLED[state] or state == 'garbage' then return { 'settled:' .. state } end

local again = state == 'running' and job[3] == nonce
if not again then
  if state == 'running' then
    if tonumber(job[2]) > now then return { 'leased_elsewhere' } end
    return { 'look' }
  end
  if tonumber(job[4]) <= now then return { 'look' } end
  if state == 'scheduled' then
    if tonumber(job[5]) > now then return { 'not_due' } end
    return { 'look' }
  end
  redis.call('ZREM', waiting_key(job[6]), id)
  local started = tonumber(redis.call('HGET', key('started'), job[6])) or 0
  if tonumber(job[7]) > started then
    redis.call('HSET', key('started'), job[6], job[7])
    -- How far the queue has come, as a moment. A job that was published again did not stand in its order.
    if job[8] == '0' and not job[9] then redis.call('HSET', key('reached'), job[6], job[10]) end
  end
  redis.call('HINCRBY', jk, 'attempt', 1)
  count('attempts')
end
redis.call('HSET', jk, 'state', 'running', 'worker', worker, 'nonce', nonce, 'lease_ms', now + lease, 'started_ms', now)
redis.call('ZADD', key('due'), now + lease, id)
redis.call('SADD', key('running'), id)
local token = redis.call('HGET', jk, 'attempt')
local rest = redis.call('HMGET', jk, 'failures', 'lost', 'accepted_ms', 'function', 'idempotency_key', 'delivery',
  'envelope', 'done')
return { 'leased', token, token, rest[1], rest[2], tostring(now), job[4], rest[3], rest[4], rest[5] or '', rest[6],
  rest[7] or '', rest[8] or '' }
