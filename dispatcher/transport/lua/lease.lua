-- Gives jobs to a worker for one attempt each, with a fencing token that only this attempt holds.
-- KEYS: prefix
-- ARGV: worker, nonce (the same for a repeated request of the same delivery), lease_ms, the ids
-- Returns for each {'leased', attempt (which is the token), failures, lost, now, deadline_ms, accepted_ms, function,
--         idempotency_key, delivery, envelope, done} or {reason}: 'unknown', 'settled:<state>', 'leased_elsewhere',
--         'not_due', 'look' (expired, cancelled or given up: the sweeper's script must settle it), 'alone' (to be asked
--         for by itself: it must not be lost together with others), 'error:<what the server said>'; and last its id

-- One job on its first attempt goes straight on, past every function and table that it can do without.
if #ARGV == 4 then
  local id = ARGV[4]
  local jk = JOB .. id
  local job = redis.call('HMGET', jk, 'state', 'queue', 'sequence', 'accepted_ms', 'deadline_ms', 'function',
    'envelope', 'attempt', 'delivery', 'idempotency_key', 'published_ms', 'copies')
  if job[1] == 'waiting' and not job[8] and not job[12] and tonumber(job[5]) > now then
    local queue, now_text, lease_end = job[2], tostring(now), now + ARGV[3]
    local far = string.match(redis.call('HGET', PREFIX .. 'started', queue) or '0', '%d+')
    -- A server at `maxmemory` refuses it; what follows sees whether the reserve is left.
    local written = redis.pcall('HSET', jk, 'state', 'running', 'worker', ARGV[1], 'nonce', ARGV[2], 'lease_ms', lease_end,
      'started_ms', now_text, 'attempt', '1', 'shared', '0')
    if type(written) == 'number' then
      redis.call('ZREM', WAITING .. queue, id)
      if tonumber(job[3]) > tonumber(far) then
        redis.call('HSET', PREFIX .. 'started', queue, job[3] .. ' ' .. (job[11] or job[4]))
      end
      redis.call('ZADD', PREFIX .. 'due', lease_end, id)
      redis.call('HINCRBY', PREFIX .. 'counts', 'attempts', 1)
      return { { 'leased', '1', '0', '0', now_text, job[5], job[4], job[6], job[10] or '', job[9] or 'at_least_once',
        job[7] or '', '', id } }
    end
  end
end

--- All others.

-- As a whole, before any of them has left its queue.
if not draw_on_reserve() then return redis.error_reply('OOM the reserve above maxmemory is used up') end
-- Of several, one worker runs one after the other: those it never began must not count as lost with it.
local now_text, lease_end = tostring(now), tostring(now + ARGV[3])
local shared = #ARGV > 4
-- Queues by name: the ids of what no longer waits there, and how far the queue has come.
local attempts, due, queues = 0, {}, {}

-- A job of a queue is begun; `in_order` where it stood in the queue's order.
local function begin(id, queue, sequence, published, in_order)
  local far = queues[queue]
  if not far then
    far = {}
    far.sequence, far.published = progress_of(queue)
    queues[queue] = far
  end
  far[#far + 1] = id
  if sequence > far.sequence then
    far.sequence, far.changed = sequence, true
    -- As a moment, too. A job that was published again did not stand in its order.
    if in_order then far.published = published end
  end
end

local function give(id)
  local jk = JOB .. id
  local job = redis.call('HMGET', jk, 'state', 'queue', 'sequence', 'accepted_ms', 'deadline_ms', 'function',
    'envelope', 'attempt', 'delivery', 'idempotency_key', 'published_ms', 'copies')
  local state, attempt = job[1], tonumber(job[8] or 0)
  if not state then return { 'unknown' } end
  if is_settled(state) or state == 'garbage' then return { 'settled:' .. state } end

  -- What a job has none of that waits for its first attempt: to look for a field takes its time.
  local past = (state ~= 'waiting' or attempt > 0)
    and redis.call('HMGET', jk, 'failures', 'lost', 'done', 'nonce', 'lease_ms', 'due_ms')
  if state ~= 'running' or past[4] ~= ARGV[2] then
    if state == 'running' then
      if tonumber(past[5]) > now then return { 'leased_elsewhere' } end
      return { 'look' }
    end
    if tonumber(job[5]) <= now then return { 'look' } end
    if state == 'scheduled' then
      if tonumber(past[6]) > now then return { 'not_due' } end
      return { 'look' }
    end
    if shared and job[9] == 'at_most_once' then return { 'alone' } end
    begin(id, job[2], tonumber(job[3]), tonumber(job[11] or job[4]), attempt == 0 and not job[12])
    attempt = attempt + 1
    attempts = attempts + 1
  end
  local token = tostring(attempt)
  redis.call('HSET', jk, 'state', 'running', 'worker', ARGV[1], 'nonce', ARGV[2], 'lease_ms', lease_end, 'started_ms',
    now_text, 'attempt', token, 'shared', shared and '1' or '0')
  add_pair(due, lease_end, id)
  return { 'leased', token, past and past[1] or '0', past and past[2] or '0', now_text, job[5], job[4], job[6],
    job[10] or '', job[9] or 'at_least_once', job[7] or '', past and past[3] or '' }
end

local replies = {}
for i = 4, #ARGV do
  -- One whose record somebody broke must not leave the others half given.
  local done, reply = pcall(give, ARGV[i])
  if not done and not shared then error(reply) end
  replies[i - 3] = done and reply or { 'error:' .. (type(reply) == 'table' and reply.err or tostring(reply)) }
  table.insert(replies[i - 3], ARGV[i])
end
for queue, far in pairs(queues) do
  redis.call('ZREM', WAITING .. queue, unpack(far))
  if far.changed then redis.call('HSET', PREFIX .. 'started', queue, far.sequence .. ' ' .. far.published) end
end
if due[1] then redis.call('ZADD', PREFIX .. 'due', unpack(due)) end
if attempts > 0 then redis.call('HINCRBY', PREFIX .. 'counts', 'attempts', attempts) end
return replies
