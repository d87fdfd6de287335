-- Ends attempts: each with the job's outcome, or with the time of the next attempt. Counts only under the current token.
-- KEYS: prefix, then the result key of each job
-- ARGV: for each job how many words follow, and
--       id, token, state, meta, ended (JSON: calls by state, '' where all ended as the job did), result_ms, of a failed
--       job dead_ms and max_dead, then name, entry and ms of each call's end that may be used again   for an outcome
--       id, token, 'scheduled', done (outcomes that stand already, '' for none), wait_ms           for another attempt
-- Returns for each 'settled', 'scheduled', 'stale', 'cancel:<reason>' (no further attempt: settle it as cancelled), or,
-- of several, 'error:<what the server said>'. Repeating a settlement that counted says so again.

-- One job that succeeded, and is nobody's but its producer's, goes straight on, past every function and table that it can
-- do without.
if #KEYS == 2 and #ARGV == 7 and ARGV[4] == 'succeeded' and ARGV[6] == '' and #ARGV[5] <= ANNOUNCED_WHOLE then
  local id, token, meta, result_ms = ARGV[2], ARGV[3], ARGV[5], ARGV[7]
  local jk = JOB .. id
  local job = redis.call('HMGET', jk, 'state', 'attempt', 'function', 'calls', 'producer', 'sharers', 'flight')
  if job[1] == 'running' and job[2] == token and not job[6] and not job[7] then
    -- First what needs no memory: a server at `maxmemory` lets the rest follow, for the outcome must not be lost there.
    redis.call('ZREM', PREFIX .. 'due', id)
    redis.call('SET', KEYS[2], meta, 'PX', result_ms)
    redis.call('HSET', jk, 'state', 'succeeded', 'settled_ms', now, 'settled_by', token)
    redis.call('HDEL', jk, 'lease_ms', 'due_ms', 'nonce', 'envelope', 'done')
    redis.call('PEXPIRE', jk, result_ms)
    redis.call('HINCRBY', PREFIX .. 'counts', 'outcome:succeeded:' .. (job[3] or ''), job[4] or 1)
    redis.call('PUBLISH', KEYS[2], meta)
    if (job[5] or '') ~= '' then redis.call('PUBLISH', PREFIX .. 'announce:' .. job[5], id .. '\n' .. meta) end
    return { 'settled' }
  end
end

--- All others.

-- At `maxmemory` outcomes are recorded, but none is kept for equal calls.
local full = is_full()
if full then write_when_full() end

-- What is said of an attempt that does not run any more.
local function over(jk, token)
  local job = redis.call('HMGET', jk, 'state', 'settled_by')
  if job[2] == token then return job[1] == 'scheduled' and 'scheduled' or 'settled' end
  count('stale')
  return 'stale'
end

local function try_again(id, token, done, wait)
  local jk = JOB .. id
  local job = redis.call('HMGET', jk, 'cancel', 'deadline_ms')
  if job[1] then return 'cancel:' .. job[1] end
  local due = now + wait
  redis.call('HINCRBY', jk, 'failures', 1)
  redis.call('HSET', jk, 'state', 'scheduled', 'due_ms', due, 'done', done, 'settled_by', token)
  redis.call('HDEL', jk, 'lease_ms', 'nonce')
  redis.call('ZADD', PREFIX .. 'due', math.min(due, tonumber(job[2])), id)
  redis.call('SADD', PREFIX .. 'scheduled', id)
  count('retries')
  return 'scheduled'
end

local function settle(result_key, first, last)
  local id, token, state = ARGV[first], ARGV[first + 1], ARGV[first + 2]
  local jk = JOB .. id
  local job = redis.call('HMGET', jk, 'state', 'attempt', 'function', 'calls', 'producer', 'sharers', 'flight')
  if job[1] ~= 'running' or job[2] ~= token then return over(jk, token) end
  if state == 'scheduled' then return try_again(id, token, ARGV[first + 3], tonumber(ARGV[first + 4])) end
  local ended = ARGV[first + 4] ~= '' and cjson.decode(ARGV[first + 4]) or nil
  local ttl, rest = { result_key = result_key, result_ms = tonumber(ARGV[first + 5]) }, first + 6
  if state == 'failed' then
    ttl.dead, ttl.dead_ms, ttl.max_dead = true, tonumber(ARGV[rest]), tonumber(ARGV[rest + 1])
    rest = rest + 2
  end
  finish(id, job, state, ARGV[first + 3], ttl, ended, token)
  if full or rest > last then return 'settled' end
  local made = tonumber(redis.call('HGET', jk, 'epoch') or '0')
  for i = rest, last, 3 do keep(ARGV[i], made, ARGV[i + 1], ARGV[i + 2]) end
  return 'settled'
end

if #KEYS == 2 then return { settle(KEYS[2], 2, #ARGV) } end
begin_together()
local replies, at = {}, 1
for i = 2, #KEYS do
  local last = at + tonumber(ARGV[at])
  -- One whose record somebody broke must not keep the others from being recorded.
  local done, reply = pcall(settle, KEYS[i], at + 1, last)
  replies[#replies + 1] = done and reply or 'error:' .. (type(reply) == 'table' and reply.err or tostring(reply))
  at = last + 1
end
end_together()
return replies
