-- Accepts jobs, or says of each why not, and publishes their wake-ups. Accepting the same id again changes nothing, so a
-- lost reply may be asked for again.
-- KEYS: prefix, then the broker's lists that messages go into (none where the broker is another server)
-- ARGV: idempotency_ttl_ms, max_backlog, keep_ms, number of jobs,
--       then for each job: id, queue, delay_ms, deadline_ms, digest, idempotency key ('' for none), how its calls are
--       cached ('' for not at all; JSON: topics, and name and producer where it may be shared), how many words follow,
--       and the job's own fields as name, value, …,
--       then for each message: which of KEYS, the first and the last of the jobs that it wakes, the message itself
-- Returns for each job {'accepted' | 'known' | 'repeated' | 'shared', id, deadline_ms, sequence}, {'cached', entry},
--         {'conflict', id}, {'backlog'} or {'error', what the server said}
local idempotency_ttl, max_backlog, keep = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local jobs, at = tonumber(ARGV[4]), 5
local now = now_ms()
local backlog, due_at, waits, sequences, seen, replies = {}, {}, {}, {}, {}, {}

local function room(queue)
  if not backlog[queue] then backlog[queue] = redis.call('ZCARD', waiting_key(queue)) end
  if backlog[queue] >= max_backlog then return false end
  backlog[queue] = backlog[queue] + 1
  return true
end

-- For a call that may share: how an equal one has ended, or the job that runs for it.
local function found(cached, queue)
  local entry = kept(cached.name, cached.topics)
  if entry then
    seen['cache:hit:' .. cached.fn] = (seen['cache:hit:' .. cached.fn] or 0) + 1
    return { 'cached', entry }
  end
  local shared, deadline_at = join(cached.name, cached.topics, queue, cached.producer)
  local how = shared and 'cache:shared:' or 'cache:miss:'
  seen[how .. cached.fn] = (seen[how .. cached.fn] or 0) + 1
  return shared and { 'shared', shared, deadline_at, '0' } or nil
end

local function accept(id, queue, delay, deadline, digest, name, cache, first, last)
  local jk = job_key(id)
  local known = redis.call('HMGET', jk, 'deadline_ms', 'sequence')
  if known[1] then return { 'known', id, known[1], known[2] or '0' } end

  local idempotency = name ~= '' and key('idempotency:' .. name) or nil
  if idempotency then
    local owner = redis.call('HMGET', idempotency, 'digest', 'id', 'deadline_ms')
    if owner[1] == digest then
      seen.repeated = (seen.repeated or 0) + 1
      return { 'repeated', owner[2], owner[3], '0' }
    end
    if owner[1] then
      seen['refused:idempotency_conflict'] = (seen['refused:idempotency_conflict'] or 0) + 1
      return { 'conflict', owner[2] }
    end
  end
  local cached = cache ~= '' and cjson.decode(cache) or nil
  local answer = cached and cached.name and found(cached, queue)
  if answer then return answer end
  if not room(queue) then
    seen['refused:backlog_full'] = (seen['refused:backlog_full'] or 0) + 1
    return { 'backlog' }
  end

  local deadline_at, sequence, due = now + deadline, 0, nil
  if delay > 0 then
    due = math.min(now + delay, deadline_at)
    redis.call('HSET', jk, 'queue', queue, 'accepted_ms', now, 'deadline_ms', deadline_at, 'attempt', 0, 'failures', 0,
      'lost', 0, 'state', 'scheduled', 'due_ms', now + delay, unpack(ARGV, first, last))
  else
    due = deadline_at
    sequence = (sequences[queue] or tonumber(redis.call('HGET', key('sequence'), queue) or '0')) + 1
    sequences[queue] = sequence
    redis.call('HSET', jk, 'queue', queue, 'accepted_ms', now, 'deadline_ms', deadline_at, 'attempt', 0, 'failures', 0,
      'lost', 0, 'state', 'waiting', 'sequence', sequence, 'published_ms', now, unpack(ARGV, first, last))
    waits[queue] = waits[queue] or {}
    add_pair(waits[queue], sequence, id)
  end
  add_pair(due_at, due, id)
  redis.call('PEXPIREAT', jk, deadline_at + keep)
  if idempotency then
    redis.call('HSET', idempotency, 'digest', digest, 'id', id, 'deadline_ms', deadline_at)
    redis.call('PEXPIREAT', idempotency, deadline_at + idempotency_ttl)
  end
  if cached then
    redis.call('HSET', jk, 'epoch', epoch())
    if cached.name then
      redis.call('HSET', jk, 'flight', cached.name, 'sharers', cached.producer)
      redis.call('SET', key('flight:' .. cached.name), id, 'PX', math.max(deadline, 1))
    end
  end
  seen.accepted = (seen.accepted or 0) + 1
  return { 'accepted', id, tostring(deadline_at), tostring(sequence) }
end

for i = 1, jobs do
  local words = tonumber(ARGV[at + 7])
  -- One whose record somebody broke must not leave the others half accepted.
  local done, reply = pcall(accept, ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), ARGV[at + 4],
    ARGV[at + 5], ARGV[at + 6], at + 8, at + 7 + words)
  replies[i] = done and reply or { 'error', type(reply) == 'table' and reply.err or tostring(reply) }
  at = at + 8 + words
end
for queue, sequence in pairs(sequences) do redis.call('HSET', key('sequence'), queue, sequence) end
for queue, pairs_of in pairs(waits) do redis.call('ZADD', waiting_key(queue), unpack(pairs_of)) end
if #due_at > 0 then redis.call('ZADD', key('due'), unpack(due_at)) end
for name, by in pairs(seen) do count(name, by) end
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
