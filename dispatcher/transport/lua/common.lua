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

-- What a script for many jobs counts and announces, to be written once for all of them; nil in other scripts.
local together = nil

local function count(name, by)
  if together then
    together.counts[name] = (together.counts[name] or 0) + (by or 1)
  else
    redis.call('HINCRBY', key('counts'), name, by or 1)
  end
end

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

-- The result cache. Each invalidation has a number, one higher than the last; what was accepted before it is older.
local function epoch() return tonumber(redis.call('HGET', key('epochs'), 'last') or '0') end

-- The last invalidation that concerns what has these topics (JSON: a list of names).
local invalidated = {}
local function invalidated_at(topics)
  if not invalidated[topics] then
    local last = 0
    for _, number in ipairs(redis.call('HMGET', key('epochs'), unpack(cjson.decode(topics)))) do
      if number then last = math.max(last, tonumber(number)) end
    end
    invalidated[topics] = last
  end
  return invalidated[topics]
end

-- What is kept under a name, as cache.py writes it; nil where it is nothing that may be used.
local function kept(name, topics)
  local entry = redis.pcall('GET', key('cache:' .. name))
  if type(entry) ~= 'string' then return nil end
  local space = string.find(entry, ' ', 1, true)
  local made = space and tonumber(string.sub(entry, 1, space - 1))
  if not made or made < invalidated_at(topics) or string.sub(entry, space + 1, space + 1) == '-' then return nil end
  return string.sub(entry, space + 1)
end

-- Keeps a call's end for equal calls, unless something newer, an invalidation included, stands there.
local function keep(name, made, entry, ms)
  local there = redis.pcall('GETRANGE', key('cache:' .. name), 0, 20)
  local newer = type(there) == 'string' and tonumber(string.match(there, '^(%d+) ') or nil)
  if newer and newer > made then return end
  redis.call('SET', key('cache:' .. name), made .. ' ' .. entry, 'PX', ms)
end

local MOST_PRODUCERS = 100   -- that share a job; the next one's call is a job of its own, which others may share

-- Joins the job that runs for an equal call, if there is one that this call may share.
-- Returns its id and deadline, or nil. Joining again changes nothing.
local function join(name, topics, queue, producer)
  local id = redis.call('GET', key('flight:' .. name))
  if not id then return nil end
  local jk = job_key(id)
  local job = redis.call('HMGET', jk, 'state', 'queue', 'epoch', 'deadline_ms', 'cancel', 'sharers')
  if not job[1] or SETTLED[job[1]] or job[5] or tonumber(job[4]) <= now_ms() then return nil end
  -- A call that is urgent must not wait in a queue for what is not.
  if job[1] ~= 'running' and job[2] ~= queue then return nil end
  if tonumber(job[3] or '0') < invalidated_at(topics) then return nil end
  local sharers, known = {}, false
  for sharer in string.gmatch(job[6] or '', '%S+') do
    sharers[#sharers + 1] = sharer
    known = known or sharer == producer
  end
  if not known then
    if #sharers >= MOST_PRODUCERS then return nil end
    sharers[#sharers + 1] = producer
    redis.call('HSET', jk, 'sharers', table.concat(sharers, ' '))
  end
  return id, job[4]
end

local ANNOUNCED_WHOLE = 65536   -- bytes; a larger outcome is announced by its id and read from the store

local ANNOUNCED_TOGETHER = 262144   -- bytes; more than that travels in several messages

-- Tells a producer of outcomes: one as its id and meta, several as id, length and meta each, after an empty line.
local function tell(producer, held)
  local message = held[1].id .. '\n' .. held[1].meta
  if #held > 1 then
    local parts = { '' }
    for i, one in ipairs(held) do parts[i + 1] = one.id .. ' ' .. #one.meta .. '\n' .. one.meta end
    message = parts[1] .. '\n' .. table.concat(parts, '', 2)
  end
  redis.call('PUBLISH', key('announce:' .. producer), message)
end

local function announce(producer, id, meta)
  local held = together and (together.held[producer] or { bytes = 0 }) or {}
  held[#held + 1] = { id = id, meta = meta }
  if not together then return tell(producer, held) end
  held.bytes = held.bytes + #meta
  together.held[producer] = held
  if held.bytes > ANNOUNCED_TOGETHER then
    together.held[producer] = nil
    tell(producer, held)
  end
end

-- Around a script for many jobs.
local function begin_together() together = { counts = {}, held = {}, gone = {} } end

local function end_together()
  local done = together
  together = nil
  if #done.gone > 0 then
    redis.call('ZREM', key('due'), unpack(done.gone))
    redis.call('SREM', key('running'), unpack(done.gone))
  end
  for name, by in pairs(done.counts) do count(name, by) end
  for producer, held in pairs(done.held) do tell(producer, held) end
end

-- Takes a job out of what is unsettled.
local function forget(id, state, queue)
  if state == 'waiting' or state == 'scheduled' then redis.call('ZREM', waiting_key(queue), id) end
  if together then
    table.insert(together.gone, id)
  else
    redis.call('ZREM', key('due'), id)
    redis.call('SREM', key('running'), id)
  end
end

-- Ends a job: records the outcome, announces it, and takes the job out of every index.
-- meta: the outcome in Celery's result format. ttl: {result_key, result_ms, dead, dead_ms, max_dead}
-- ended: how many calls ended how, {state = calls, …}; nil where all of them ended as the job did.
-- token: of the attempt that ends it; nil where none does.
local function finish(id, state, meta, ttl, now, ended, token)
  local jk = job_key(id)
  local job = redis.call('HMGET', jk, 'queue', 'producer', 'function', 'calls', 'sharers', 'flight', 'state')
  -- A dead letter is kept whole: its outcome says why it is dead.
  local result_ms = ttl.dead and math.max(ttl.dead_ms, ttl.result_ms) or ttl.result_ms
  redis.call('SET', ttl.result_key, meta, 'PX', result_ms)
  forget(id, job[7], job[1])
  if token then
    redis.call('HSET', jk, 'state', state, 'settled_ms', now, 'settled_by', token)
  else
    redis.call('HSET', jk, 'state', state, 'settled_ms', now)
  end
  if ttl.dead then
    redis.call('HDEL', jk, 'lease_ms', 'due_ms', 'nonce')
    bury(id, ttl.dead_ms, ttl.max_dead)
  else
    redis.call('HDEL', jk, 'lease_ms', 'due_ms', 'nonce', 'envelope', 'done')
    redis.call('PEXPIRE', jk, ttl.result_ms)
  end
  for how, calls in pairs(ended or { [state] = tonumber(job[4]) or 1 }) do
    count('outcome:' .. how .. ':' .. (job[3] or ''), calls)
  end
  redis.call('PUBLISH', ttl.result_key, meta)
  if #meta > ANNOUNCED_WHOLE then meta = '' end
  for producer in string.gmatch(job[5] or job[2] or '', '%S+') do announce(producer, id, meta) end
  if job[6] and redis.call('GET', key('flight:' .. job[6])) == id then redis.call('DEL', key('flight:' .. job[6])) end
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
