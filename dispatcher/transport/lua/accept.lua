-- Accepts jobs, or says of each why not, and publishes their wake-ups. Accepting the same id again changes nothing, so a
-- lost reply may be asked for again.
-- KEYS: prefix, then the broker's lists that messages go into (none where the broker is another server)
-- ARGV: idempotency_ttl_ms, max_backlog, keep_ms, number of jobs,
--       then for jobs that have much in common: how many they are, queue, delay_ms, deadline_ms, how many words follow,
--       and the fields of their records that are the same, as name, value, …,
--         and for each of them: id, arguments shown, envelope, what else there is of it ('' for nothing; JSON:
--         idempotency_key, and the name and digest of it; how its calls are cached, as topics and function, and name
--         and producer where they may be shared),
--       then for each message: which of KEYS, the first and the last of the jobs that it wakes, the message itself
-- Returns for each job {'accepted' | 'known' | 'repeated' | 'shared', id, deadline_ms, sequence}, {'cached', entry},
--         {'conflict', id}, {'backlog'} or {'error', what the server said}

-- One job with nothing uncommon about it goes straight on, past every function and table that it can do without.
local id_at = 10 + ARGV[9]
if ARGV[4] == '1' and ARGV[7] == '0' and ARGV[id_at + 3] == '' then
  local id, queue, deadline_at = ARGV[id_at], ARGV[6], now + ARGV[8]
  local jk, waiting = JOB .. id, WAITING .. queue
  if redis.call('EXISTS', jk) == 0 and redis.call('ZCARD', waiting) < tonumber(ARGV[2]) then
    local turn = redis.call('HINCRBY', PREFIX .. 'sequence', queue, 1)
    redis.call('HSET', jk, 'state', 'waiting', 'sequence', turn, 'shown', ARGV[id_at + 1], 'envelope', ARGV[id_at + 2],
      'queue', queue, 'accepted_ms', now, 'deadline_ms', deadline_at, unpack(ARGV, 10, id_at - 1))
    redis.call('PEXPIREAT', jk, deadline_at + ARGV[3])
    redis.call('ZADD', waiting, turn, id)
    redis.call('ZADD', PREFIX .. 'due', deadline_at, id)
    redis.call('HINCRBY', PREFIX .. 'counts', 'accepted', 1)
    if KEYS[2] then redis.call('LPUSH', KEYS[2], ARGV[id_at + 7]) end
    return { { 'accepted', id, tostring(deadline_at), tostring(turn) } }
  end
end

--- All others.

local max_backlog, jobs, at = tonumber(ARGV[2]), tonumber(ARGV[4]), 5
local waits, due_at, seen, replies = {}, {}, {}, {}

local function see(what) seen[what] = (seen[what] or 0) + 1 end

-- What few jobs need: made where the first of them comes.
local uncommon
local function special()
  local cache = result_cache()

  -- What an idempotency key says of a job that is to be accepted under it; nil: nothing.
  local function repeated(idempotency, digest)
    local owner = redis.call('HMGET', idempotency, 'digest', 'id', 'deadline_ms')
    if owner[1] == digest then
      see('repeated')
      return { 'repeated', owner[2], owner[3], '0' }
    end
    if owner[1] then
      see('refused:idempotency_conflict')
      return { 'conflict', owner[2] }
    end
  end

  -- For a call that may share: how an equal one has ended, or the job that runs for it.
  local function found(more, queue)
    local entry = cache.kept(more.name, more.topics)
    if entry then
      see('cache:hit:' .. more.fn)
      return { 'cached', entry }
    end
    local shared, deadline_at = cache.join(more.name, more.topics, queue, more.producer)
    see((shared and 'cache:shared:' or 'cache:miss:') .. more.fn)
    return shared and { 'shared', shared, deadline_at, '0' } or nil
  end

  -- The answer that stands already; nil: the job is to be accepted.
  local function answered(more, queue)
    return more.idempotency and repeated(PREFIX .. 'idempotency:' .. more.idempotency, more.digest)
      or more.name and found(more, queue)
  end

  -- What else is written of a job that is accepted.
  local function add(id, more, deadline, deadline_at)
    if more.idempotency then
      local idempotency = PREFIX .. 'idempotency:' .. more.idempotency
      redis.call('HSET', JOB .. id, 'idempotency_key', more.idempotency_key)
      redis.call('HSET', idempotency, 'digest', more.digest, 'id', id, 'deadline_ms', deadline_at)
      redis.call('PEXPIREAT', idempotency, deadline_at + ARGV[1])
    end
    if more.topics then
      redis.call('HSET', JOB .. id, 'epoch', redis.call('HGET', PREFIX .. 'epochs', 'last') or '0')
    end
    if more.name then
      redis.call('HSET', JOB .. id, 'flight', more.name, 'sharers', more.producer)
      redis.call('SET', PREFIX .. 'flight:' .. more.name, id, 'PX', math.max(deadline, 1))
    end
  end

  return { answered = answered, add = add }
end

-- id_at: where its words begin in ARGV. like: what it has in common with others; its `words` are the command that makes
-- the record, into which each job puts what is its own.
local function accept(id_at, like)
  local id, more = ARGV[id_at], ARGV[id_at + 3]
  local jk, queue, words, due = JOB .. id, like.queue, like.words, like.due
  if redis.call('EXISTS', jk) == 1 then
    local known = redis.call('HMGET', jk, 'deadline_ms', 'sequence')
    if known[1] then return { 'known', id, known[1], known[2] or '0' } end
  end
  if more ~= '' then
    uncommon = uncommon or special()
    more = cjson.decode(more)
    local answer = uncommon.answered(more, queue)
    if answer then return answer end
  end
  local waiting = waits[queue]
  if not waiting then
    waiting = { room = max_backlog - redis.call('ZCARD', WAITING .. queue) }
    waits[queue] = waiting
  end
  if waiting.room <= 0 then
    see('refused:backlog_full')
    return { 'backlog' }
  end
  waiting.room = waiting.room - 1

  local turn = due or waiting[1] and waiting[#waiting - 1] + 1 or redis.call('HINCRBY', PREFIX .. 'sequence', queue, 1)
  words[2], words[6], words[8], words[10] = jk, turn, ARGV[id_at + 1], ARGV[id_at + 2]
  redis.call(unpack(words))
  if due then redis.call('SADD', PREFIX .. 'scheduled', id) else add_pair(waiting, turn, id) end
  add_pair(due_at, due and math.min(due, like.deadline_at) or like.deadline_at, id)
  redis.call('PEXPIREAT', jk, like.deadline_at + ARGV[3])
  if more ~= '' then uncommon.add(id, more, like.deadline, like.deadline_at) end
  see('accepted')
  return { 'accepted', id, like.deadline_text, due and '0' or tostring(turn) }
end

while #replies < jobs do
  local alike, queue, delay, deadline = tonumber(ARGV[at]), ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local first = at + 5 + tonumber(ARGV[at + 4])
  local due, deadline_at = delay > 0 and now + delay or nil, now + deadline
  local like = { queue = queue, due = due, deadline = deadline, deadline_at = deadline_at,
    deadline_text = tostring(deadline_at),
    -- Of these, the 2nd, 6th, 8th and 10th are a job's own.
    words = { 'HSET', '', 'state', due and 'scheduled' or 'waiting', due and 'due_ms' or 'sequence', '', 'shown', '',
      'envelope', '', 'queue', queue, 'accepted_ms', now, 'deadline_ms', deadline_at,
      unpack(ARGV, at + 5, first - 1) } }
  at = first + 4 * alike
  for id_at = first, at - 4, 4 do
    -- One whose record somebody broke must not leave the others half accepted.
    local done, reply = pcall(accept, id_at, like)
    replies[#replies + 1] = done and reply or { 'error', type(reply) == 'table' and reply.err or tostring(reply) }
  end
end
for queue, waiting in pairs(waits) do
  if waiting[1] then redis.call('ZADD', WAITING .. queue, unpack(waiting)) end
  -- The first of them took its number when it came.
  if #waiting > 2 then redis.call('HINCRBY', PREFIX .. 'sequence', queue, #waiting / 2 - 1) end
end
if due_at[1] then redis.call('ZADD', PREFIX .. 'due', unpack(due_at)) end
-- Who asks again after what was accepted, or is kept, is answered by a server at `maxmemory` too.
if not seen.accepted then write_when_full() end
for name, by in pairs(seen) do redis.call('HINCRBY', PREFIX .. 'counts', name, by) end
for i = at, #ARGV, 4 do
  for j = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]) do
    -- Not again for a reply that was lost: the message went out with the acceptance.
    if replies[j][1] == 'accepted' and replies[j][4] ~= '0' then
      redis.call('LPUSH', KEYS[tonumber(ARGV[i])], ARGV[i + 3])
      break
    end
  end
end
return replies
