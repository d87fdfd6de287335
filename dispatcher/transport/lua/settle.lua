-- Ends attempts: each with the job's outcome, or with the time of the next attempt. Counts only under the current token.
-- KEYS: prefix, then the result key of each job
-- ARGV: for each job how many words follow, and
--       id, token, state, meta, result_ms, dead (0 or 1), dead_ms, max_dead, ended (JSON: calls by state, '' where all
--       ended as the job did), then name, entry and ms of each call's end that may be used again   for an outcome
--       id, token, 'scheduled', done (outcomes that stand already, '' for none), wait_ms      for another attempt
-- Returns for each 'settled', 'scheduled', 'stale', 'cancel:<reason>' (no further attempt: settle it as cancelled), or,
-- of several, 'error:<what the server said>'. Repeating a settlement that counted says so again.
local now = now_ms()

local function settle(result_key, first, last)
  local id, token, state = ARGV[first], ARGV[first + 1], ARGV[first + 2]
  local jk = job_key(id)
  local job = redis.call('HMGET', jk, 'state', 'attempt', 'settled_by', 'deadline_ms', 'cancel', 'epoch')
  if job[3] == token then return job[1] == 'scheduled' and 'scheduled' or 'settled' end
  if job[1] ~= 'running' or job[2] ~= token then
    count('stale')
    return 'stale'
  end
  if state == 'scheduled' and job[5] then return 'cancel:' .. job[5] end
  if state == 'scheduled' then
    local due = now + tonumber(ARGV[first + 4])
    redis.call('HINCRBY', jk, 'failures', 1)
    redis.call('HSET', jk, 'state', 'scheduled', 'due_ms', due, 'done', ARGV[first + 3], 'settled_by', token)
    redis.call('HDEL', jk, 'lease_ms', 'nonce')
    redis.call('ZADD', key('due'), math.min(due, tonumber(job[4])), id)
    redis.call('SREM', key('running'), id)
    count('retries')
    return 'scheduled'
  end
  local ended = ARGV[first + 8] ~= '' and cjson.decode(ARGV[first + 8]) or nil
  finish(id, state, ARGV[first + 3], { result_key = result_key, result_ms = tonumber(ARGV[first + 4]),
    dead = ARGV[first + 5] == '1', dead_ms = tonumber(ARGV[first + 6]), max_dead = tonumber(ARGV[first + 7]) }, now, ended,
    token)
  for i = first + 9, last, 3 do keep(ARGV[i], tonumber(job[6] or '0'), ARGV[i + 1], ARGV[i + 2]) end
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
