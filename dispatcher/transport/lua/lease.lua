-- Gives jobs to a worker for one attempt each, with a fencing token that only this attempt holds.
-- KEYS: prefix
-- ARGV: worker, nonce (the same for a repeated request of the same delivery), lease_ms, the ids
-- Returns for each {'leased', token, attempt, failures, lost, now, deadline_ms, accepted_ms, function, idempotency_key,
--         delivery, envelope, done} or {reason}: 'unknown', 'settled:<state>', 'leased_elsewhere', 'not_due',
--         'look' (expired, cancelled or given up: the sweeper's script must settle it), 'alone' (to be asked for by
--         itself: it must not be lost together with others), 'error:<what the server said>'
-- Of several, one worker runs one after the other: those it never began must not count as lost with it.
local worker, nonce, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])
local now = now_ms()
local shared = #ARGV > 4
local attempts, running, due = 0, {}, {}
-- By queue: what no longer waits, and how far the queue has come.
local begun, reached = {}, {}

-- A job of a queue is begun; `in_order` where it stood in the queue's order.
local function begin(queue, id, sequence, published, in_order)
  begun[queue] = begun[queue] or {}
  table.insert(begun[queue], id)
  local far = reached[queue]
  if not far then
    far = { sequence = tonumber(redis.call('HGET', key('started'), queue)) or 0 }
    reached[queue] = far
  end
  if sequence > far.sequence then
    far.sequence, far.changed = sequence, true
    -- As a moment, too. A job that was published again did not stand in its order.
    if in_order then far.published = published end
  end
end

local function give(id)
  local jk = job_key(id)
  local job = redis.call('HMGET', jk, 'state', 'lease_ms', 'nonce', 'deadline_ms', 'due_ms', 'queue', 'sequence',
    'attempt', 'copies', 'published_ms', 'failures', 'lost', 'accepted_ms', 'function', 'idempotency_key', 'delivery',
    'envelope', 'done')
  local state, attempt = job[1], job[8]
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
    if shared and job[16] == 'at_most_once' then return { 'alone' } end
    begin(job[6], id, tonumber(job[7]), job[10], attempt == '0' and not job[9])
    attempt = tostring(tonumber(attempt) + 1)
    attempts = attempts + 1
  end
  redis.call('HSET', jk, 'state', 'running', 'worker', worker, 'nonce', nonce, 'lease_ms', now + lease, 'started_ms', now,
    'attempt', attempt, 'shared', shared and '1' or '0')
  add_pair(due, now + lease, id)
  running[#running + 1] = id
  return { 'leased', attempt, attempt, job[11], job[12], tostring(now), job[4], job[13], job[14], job[15] or '', job[16],
    job[17] or '', job[18] or '' }
end

local replies = {}
for i = 4, #ARGV do
  -- One whose record somebody broke must not leave the others half given.
  local done, reply = pcall(give, ARGV[i])
  if not done and not shared then error(reply) end
  replies[#replies + 1] = done and reply or { 'error:' .. (type(reply) == 'table' and reply.err or tostring(reply)) }
end
for queue, ids in pairs(begun) do redis.call('ZREM', waiting_key(queue), unpack(ids)) end
for queue, far in pairs(reached) do
  if far.changed then redis.call('HSET', key('started'), queue, far.sequence) end
  if far.published then redis.call('HSET', key('reached'), queue, far.published) end
end
if #running > 0 then
  redis.call('ZADD', key('due'), unpack(due))
  redis.call('SADD', key('running'), unpack(running))
end
if attempts > 0 then count('attempts', attempts) end
return replies
