-- Put before every script. Keys of one namespace share a hash tag, so a Redis Cluster holds them in one slot.
local PREFIX = KEYS[1]          -- "{namespace}:"

local function key(name) return PREFIX .. name end
local function job_key(id) return PREFIX .. 'job:' .. id end
local function waiting_key(queue) return PREFIX .. 'waiting:' .. queue end

-- Milliseconds since the epoch on the server's own clock: the only clock a job's times come from.
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function count(name, by) redis.call('HINCRBY', key('counts'), name, by or 1) end

local SETTLED = { succeeded = true, failed = true, cancelled = true, expired = true }

-- For a ZADD of many.
local function add_pair(list, score, member)
  list[#list + 1] = score
  list[#list + 1] = member
end

-- Puts a job into its queue's order. Jobs brought back keep their number, so that they stand where they stood.
local function wait_in_queue(id, queue, sequence)
  redis.call('ZADD', waiting_key(queue), sequence, id)
end

-- Keeps a job, or garbage, among the dead letters; the oldest go first.
local function bury(id, dead_ms, max_dead)
  -- Milliseconds with their fractions: of two that die in one millisecond the first is the older.
  local t = redis.call('TIME')
  local now = t[1] * 1000 + t[2] / 1000
  redis.call('PEXPIRE', job_key(id), dead_ms)
  redis.call('ZADD', key('dead'), now, id)
  redis.call('PEXPIRE', key('dead'), dead_ms)
  redis.call('ZREMRANGEBYSCORE', key('dead'), '-inf', now - dead_ms)
  local over = redis.call('ZCARD', key('dead')) - max_dead
  if over > 0 then
    local popped = redis.call('ZPOPMIN', key('dead'), over)
    for i = 1, #popped, 2 do redis.call('DEL', job_key(popped[i])) end
  end
end

local ANNOUNCED_WHOLE = 65536   -- bytes; a larger outcome is announced by its id and read from the store

-- Ends a job: records the outcome, announces it, and takes the job out of every index.
-- meta: the outcome in Celery's result format. ttl: {result_key, result_ms, dead, dead_ms, max_dead}
-- ended: how many calls ended how, {state = calls, …}; nil where all of them ended as the job did.
local function finish(id, state, meta, ttl, now, ended)
  local jk = job_key(id)
  local job = redis.call('HMGET', jk, 'queue', 'producer', 'function', 'calls')
  -- A dead letter is kept whole: its outcome says why it is dead.
  local result_ms = ttl.dead and math.max(ttl.dead_ms, ttl.result_ms) or ttl.result_ms
  redis.call('SET', ttl.result_key, meta, 'PX', result_ms)
  redis.call('ZREM', key('due'), id)
  redis.call('SREM', key('running'), id)
  redis.call('ZREM', waiting_key(job[1]), id)
  redis.call('HSET', jk, 'state', state, 'settled_ms', now)
  redis.call('HDEL', jk, 'lease_ms', 'due_ms', 'nonce')
  if ttl.dead then
    bury(id, ttl.dead_ms, ttl.max_dead)
  else
    redis.call('HDEL', jk, 'envelope', 'done')
    redis.call('PEXPIRE', jk, ttl.result_ms)
  end
  for how, calls in pairs(ended or { [state] = tonumber(job[4]) or 1 }) do
    count('outcome:' .. how .. ':' .. (job[3] or ''), calls)
  end
  redis.call('PUBLISH', ttl.result_key, meta)
  if job[2] and job[2] ~= '' then
    if #meta > ANNOUNCED_WHOLE then meta = '' end
    redis.call('PUBLISH', key('announce:' .. job[2]), id .. '\n' .. meta)
  end
end

-- The outcome of a job of many calls, some of which had ended before the others were given up.
-- state, whole: what is to be said of the others. done: as `encode_done` of outcomes.py writes it; a value in it is
-- JSON text. Returns the meta, and how many calls ended how.
local function with_done(state, whole, done, calls, attempts)
  local rest = cjson.encode(whole.outcome.calls[1])
  local results, entries, ended = {}, {}, {}
  for i = 1, calls do
    local call, how = done[tostring(i - 1)], state
    results[i], entries[i] = 'null', rest
    if call then
      how = call.state
      if how == 'succeeded' then results[i] = call.value end
      call.value = nil
      entries[i] = cjson.encode(call)
    end
    ended[how] = (ended[how] or 0) + 1
  end
  local meta = '{"result":[' .. table.concat(results, ',') .. '],"status":"SUCCESS","traceback":null,"children":[],'
    .. '"date_done":' .. cjson.encode(whole.date_done) .. ',"task_id":' .. cjson.encode(whole.task_id)
    .. ',"outcome":{"v":' .. whole.outcome.v .. ',"attempts":' .. attempts .. ',"seconds":0.0,"calls":['
    .. table.concat(entries, ',') .. ']}}'
  return meta, ended
end

-- Ends a job that no attempt ends. meta: the outcome of the job as a whole; calls that had ended keep their own.
local function conclude(id, state, meta, ttl, now)
  local job = redis.call('HMGET', job_key(id), 'attempt', 'calls', 'done')
  local ended
  if job[3] and job[3] ~= '' and tonumber(job[2]) > 1 then
    meta, ended = with_done(state, cjson.decode(meta), cjson.decode(job[3]), tonumber(job[2]), job[1])
    if ended.succeeded then
      state, ttl.dead = 'succeeded', false
    end
  else
    -- In JSON a quote within a text is escaped, so this finds the field and nothing else.
    meta = string.gsub(meta, '"attempts":%d+', '"attempts":' .. job[1], 1)
  end
  finish(id, state, meta, ttl, now, ended)
end
