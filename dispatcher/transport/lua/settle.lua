-- Ends an attempt: with the job's outcome, or with the time of the next attempt. Counts only under the current token.
-- KEYS: prefix, result key
-- ARGV: id, token, state, meta, result_ms, dead (0 or 1), dead_ms, max_dead, ended (JSON: calls by state, '' where all
--       ended as the job did), then name, entry and ms of each call's end that may be used again   for an outcome
--       id, token, 'scheduled', done (outcomes that stand already, '' for none), wait_ms      for another attempt
-- Returns 'settled', 'scheduled', 'stale', or 'cancel:<reason>' (no further attempt: settle it as cancelled). Repeating
-- a settlement that counted says so again.
local id, token, state = ARGV[1], ARGV[2], ARGV[3]
local jk = job_key(id)
local now = now_ms()
local job = redis.call('HMGET', jk, 'state', 'attempt', 'settled_by', 'deadline_ms', 'cancel', 'epoch')
if job[3] == token then return job[1] == 'scheduled' and 'scheduled' or 'settled' end
if job[1] ~= 'running' or job[2] ~= token then
  count('stale')
  return 'stale'
end
if state == 'scheduled' and job[5] then return 'cancel:' .. job[5] end
redis.call('HSET', jk, 'settled_by', token)
if state == 'scheduled' then
  local due = now + tonumber(ARGV[5])
  redis.call('HINCRBY', jk, 'failures', 1)
  redis.call('HSET', jk, 'state', 'scheduled', 'due_ms', due, 'done', ARGV[4])
  redis.call('HDEL', jk, 'lease_ms', 'nonce')
  redis.call('ZADD', key('due'), math.min(due, tonumber(job[4])), id)
  redis.call('SREM', key('running'), id)
  count('retries')
  return 'scheduled'
end
finish(id, state, ARGV[4], { result_key = KEYS[2], result_ms = tonumber(ARGV[5]), dead = ARGV[6] == '1',
  dead_ms = tonumber(ARGV[7]), max_dead = tonumber(ARGV[8]) }, now, ARGV[9] ~= '' and cjson.decode(ARGV[9]) or nil)
for i = 10, #ARGV, 3 do keep(ARGV[i], tonumber(job[6] or '0'), ARGV[i + 1], ARGV[i + 2]) end
return 'settled'
