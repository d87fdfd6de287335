-- What scripts have in common. Empty lines part its blocks, and each script gets those that it needs (script.py): the
-- server makes what stands here, tables and functions above all, anew whenever a script runs.
-- Keys of one namespace share a hash tag, so a Redis Cluster holds them in one slot.
local PREFIX = KEYS[1]          -- "{namespace}:"

local JOB = PREFIX .. 'job:'

local WAITING = PREFIX .. 'waiting:'

-- Milliseconds since the epoch on the server's own clock: the only clock a job's times come from.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- A server at `maxmemory` refuses a script whose first write may need memory, and stops none that has begun to write:
-- after a first write that needs none, as this one that changes nothing, all the others are made. For what frees memory,
-- or is bounded by the jobs that there are.
local function write_when_full() redis.call('DEL', PREFIX .. 'nothing') end

-- Whether the server is at `maxmemory`. To be asked before anything is written; it writes nothing.
local function is_full()
  local refused = redis.pcall('LPUSHX', PREFIX .. 'nothing', '')
  return type(refused) == 'table' and string.find(refused.err, 'OOM', 1, true) ~= nil
end

local RESERVE = 0.1   -- of `maxmemory`: so much more may be used by what has been accepted and is brought to its end

-- For what may need memory before it frees some. Says whether it may be written, and sees to it that it is.
local function draw_on_reserve()
  if not is_full() then return true end
  local info = redis.pcall('INFO', 'memory')
  local function bytes(name) return tonumber(type(info) == 'string' and string.match(info, '\n' .. name .. ':(%d+)')) end
  local used, most = bytes('used_memory'), bytes('maxmemory')
  -- The server does not count its buffers for replicas and for its log either.
  local buffers = bytes('mem_not_counted_for_evict') or 0
  if not used or not most or used - buffers > most * (1 + RESERVE) then return false end
  write_when_full()
  return true
end

-- What a script for many jobs counts and announces, to be written once for all of them; nil in other scripts.
local together = nil

local function count(name, by)
  if together then
    together.counts[name] = (together.counts[name] or 0) + (by or 1)
  else
    redis.call('HINCRBY', PREFIX .. 'counts', name, by or 1)
  end
end

local function is_settled(state)
  return state == 'succeeded' or state == 'failed' or state == 'cancelled' or state == 'expired'
end

-- How far a queue has come: the highest number of its order that has started, and when the last that started in its
-- order was published.
local function progress_of(queue)
  local sequence, published = string.match(redis.call('HGET', PREFIX .. 'started', queue) or '0', '(%d+) ?(%d*)')
  return tonumber(sequence), tonumber(published) or 0
end

-- For a command of many.
local function add_pair(list, first, second)
  local size = #list
  list[size + 1], list[size + 2] = first, second
end

-- Puts a job into its queue's order. Jobs brought back keep their number, so that they stand where they stood.
local function wait_in_queue(id, queue, sequence)
  redis.call('ZADD', WAITING .. queue, sequence, id)
end

-- Keeps a job, or garbage, among the dead letters; the oldest go first.
local function bury(id, dead_ms, max_dead)
  -- Milliseconds with their fractions: of two that die in one millisecond the first is the older.
  local died = time[1] * 1000 + time[2] / 1000
  redis.call('PEXPIRE', JOB .. id, dead_ms)
  redis.call('ZADD', PREFIX .. 'dead', died, id)
  redis.call('PEXPIRE', PREFIX .. 'dead', dead_ms)
  redis.call('ZREMRANGEBYSCORE', PREFIX .. 'dead', '-inf', died - dead_ms)
  local over = redis.call('ZCARD', PREFIX .. 'dead') - max_dead
  if over > 0 then
    local popped = redis.call('ZPOPMIN', PREFIX .. 'dead', over)
    for i = 1, #popped, 2 do redis.call('DEL', JOB .. popped[i]) end
  end
end

-- The result cache. Each invalidation has a number, one higher than the last; what was accepted before it is older.
-- Keeps a call's end for equal calls, unless something newer, an invalidation included, stands there.
local function keep(name, made, entry, ms)
  local there = redis.pcall('GETRANGE', PREFIX .. 'cache:' .. name, 0, 20)
  local newer = type(there) == 'string' and tonumber(string.match(there, '^(%d+) ') or nil)
  if newer and newer > made then return end
  redis.call('SET', PREFIX .. 'cache:' .. name, made .. ' ' .. entry, 'PX', ms)
end

-- How equal calls ended, and the jobs that run for them: made where a script comes to need it, which few runs do.
local function result_cache()
  -- The last invalidation that concerns what has these topics (JSON: a list of names).
  local invalidated = {}
  local function invalidated_at(topics)
    if not invalidated[topics] then
      local last = 0
      for _, number in ipairs(redis.call('HMGET', PREFIX .. 'epochs', unpack(cjson.decode(topics)))) do
        if number then last = math.max(last, tonumber(number)) end
      end
      invalidated[topics] = last
    end
    return invalidated[topics]
  end

  -- What is kept under a name, as cache.py writes it; nil where it is nothing that may be used.
  local function kept(name, topics)
    local entry = redis.pcall('GET', PREFIX .. 'cache:' .. name)
    if type(entry) ~= 'string' then return nil end
    local space = string.find(entry, ' ', 1, true)
    local made = space and tonumber(string.sub(entry, 1, space - 1))
    if not made or made < invalidated_at(topics) or string.sub(entry, space + 1, space + 1) == '-' then return nil end
    return string.sub(entry, space + 1)
  end

  local MOST_PRODUCERS = 100   -- that share a job; the next one's call is a job of its own, which others may share

  -- Joins the job that runs for an equal call, if there is one that this call may share.
  -- Returns its id and deadline, or nil. Joining again changes nothing.
  local function join(name, topics, queue, producer)
    local id = redis.call('GET', PREFIX .. 'flight:' .. name)
    if not id then return nil end
    local jk = JOB .. id
    local job = redis.call('HMGET', jk, 'state', 'queue', 'epoch', 'deadline_ms', 'cancel', 'sharers')
    if not job[1] or is_settled(job[1]) or job[5] or tonumber(job[4]) <= now then return nil end
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

  return { kept = kept, join = join }
end

local ANNOUNCED_WHOLE = 65536   -- bytes; a larger outcome is announced by its id and read from the store

local ANNOUNCED_TOGETHER = 262144   -- bytes; more than that travels in several messages

local function tell(producer, message) redis.call('PUBLISH', PREFIX .. 'announce:' .. producer, message) end

-- Tells a producer of an outcome: its id and meta; of those held back, id, length and meta each, after an empty line.
local function announce(producer, id, meta)
  if not together then
    tell(producer, id .. '\n' .. meta)
    return
  end
  local held = together.held[producer] or { bytes = 0, '\n' }
  together.held[producer] = held
  add_pair(held, id .. ' ' .. #meta .. '\n', meta)
  held.bytes = held.bytes + #meta
  if held.bytes > ANNOUNCED_TOGETHER then
    together.held[producer] = nil
    tell(producer, table.concat(held))
  end
end

-- Around a script for many jobs.
local function begin_together() together = { counts = {}, held = {}, gone = {} } end

local function end_together()
  local done = together
  together = nil
  if #done.gone > 0 then redis.call('ZREM', PREFIX .. 'due', unpack(done.gone)) end
  for name, by in pairs(done.counts) do count(name, by) end
  for producer, held in pairs(done.held) do tell(producer, table.concat(held)) end
end

-- Takes a job out of what is unsettled.
local function forget(id, state, queue)
  if state == 'waiting' then redis.call('ZREM', WAITING .. queue, id) end
  if state == 'scheduled' then redis.call('SREM', PREFIX .. 'scheduled', id) end
  if together then
    together.gone[#together.gone + 1] = id
  else
    redis.call('ZREM', PREFIX .. 'due', id)
  end
end

-- Ends a job: records the outcome, announces it, and takes the job out of every index.
-- job: of its record, in this order: state, attempt, function, calls, producer, sharers, flight; where it waits, queue.
-- meta: the outcome in Celery's result format. ttl: {result_key, result_ms, dead, dead_ms, max_dead}
-- ended: how many calls ended how, {state = calls, …}; nil where all of them ended as the job did.
-- token: of the attempt that ends it; nil where none does.
local function finish(id, job, state, meta, ttl, ended, token)
  local jk, called, flight = JOB .. id, job[3] or '', job[7] and PREFIX .. 'flight:' .. job[7]
  -- A dead letter is kept whole: its outcome says why it is dead.
  local result_ms = ttl.dead and math.max(ttl.dead_ms, ttl.result_ms) or ttl.result_ms
  redis.call('SET', ttl.result_key, meta, 'PX', result_ms)
  forget(id, job[1], job[8])
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
  if ended then
    for how, calls in pairs(ended) do count('outcome:' .. how .. ':' .. called, calls) end
  else
    count('outcome:' .. state .. ':' .. called, tonumber(job[4]) or 1)
  end
  redis.call('PUBLISH', ttl.result_key, meta)
  if #meta > ANNOUNCED_WHOLE then meta = '' end
  for producer in string.gmatch(job[6] or job[5] or '', '%S+') do announce(producer, id, meta) end
  if flight and redis.call('GET', flight) == id then redis.call('DEL', flight) end
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
local function conclude(id, state, meta, ttl)
  local job = redis.call('HMGET', JOB .. id, 'state', 'attempt', 'function', 'calls', 'producer', 'sharers', 'flight',
    'queue', 'done')
  local attempts, calls, done, ended = job[2] or '0', tonumber(job[4]) or 1, job[9], nil
  if done and done ~= '' and calls > 1 then
    meta, ended = with_done(state, cjson.decode(meta), cjson.decode(done), calls, attempts)
    if ended.succeeded then
      state, ttl.dead = 'succeeded', false
    end
  else
    -- In JSON a quote within a text is escaped, so this finds the field and nothing else.
    meta = string.gsub(meta, '"attempts":%d+', '"attempts":' .. attempts, 1)
  end
  finish(id, job, state, meta, ttl, ended)
end
