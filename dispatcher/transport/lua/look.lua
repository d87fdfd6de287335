-- Looks at one job whose next-look time has come, and does what its state asks for.
-- KEYS: prefix, result key
-- ARGV: id, max_lost, expired meta, lost meta, cancelled meta, result_ms, dead_ms, max_dead, the reason that stands in
--       the cancelled meta, to be replaced by the producer's
-- Returns {'publish', function, queue, shown, head (0 or 1), attempts so far},
--         {'expired' | 'gave_up' | 'cancelled', function, shown} or {'nothing'}
local UNTIL_ROOM_MS = 5000   -- many must not be looked at in vain in each sweep

local id, max_lost = ARGV[1], tonumber(ARGV[2])
local jk = JOB .. id
local job = redis.call('HMGET', jk, 'state', 'deadline_ms', 'due_ms', 'lease_ms', 'queue', 'sequence', 'function',
  'shown', 'delivery', 'cancel', 'attempt', 'shared', 'lost')
local state = job[1]
if not state or is_settled(state) then
  redis.call('ZREM', PREFIX .. 'due', id)
  redis.call('SREM', PREFIX .. 'scheduled', id)
  return { 'nothing' }
end
-- What ends is recorded in any case; what is to be published needs room for its message.
local has_room = draw_on_reserve()
if not has_room then write_when_full() end
local deadline = tonumber(job[2])
local ttl = { result_key = KEYS[2], result_ms = tonumber(ARGV[6]), dead = false, dead_ms = tonumber(ARGV[7]),
  max_dead = tonumber(ARGV[8]) }

local function put_off()
  redis.call('ZADD', PREFIX .. 'due', math.min(now + UNTIL_ROOM_MS, deadline), id)
  return { 'nothing' }
end

if state == 'running' then
  local lease = tonumber(job[4])
  if lease > now then
    redis.call('ZADD', PREFIX .. 'due', lease, id)
    return { 'nothing' }
  end
  -- One of several in a worker's hands may never have begun. It comes back by itself, and counts from then on.
  local lost = tonumber(job[13] or 0) + (job[12] == '1' and 0 or 1)
  local is_over = job[10] or job[9] == 'at_most_once' or lost >= max_lost or deadline <= now
  if not has_room and not is_over then return put_off() end
  count('lost')
  if job[10] then
    -- A reason has no magic characters of Lua's patterns but in the replacement, where % must be doubled.
    local reason = string.gsub(cjson.encode(job[10]), '%%', '%%%%')
    local meta = string.gsub(ARGV[5], '"' .. ARGV[9] .. '"', reason)
    conclude(id, 'cancelled', meta, ttl)
    return { 'cancelled', job[7], job[8] }
  end
  redis.call('HSET', jk, 'lost', lost)
  if job[9] == 'at_most_once' or lost >= max_lost then
    ttl.dead = true
    conclude(id, 'failed', ARGV[4], ttl)
    return { 'gave_up', job[7], job[8] }
  end
end
if deadline <= now then
  conclude(id, 'expired', ARGV[3], ttl)
  return { 'expired', job[7], job[8] }
end
if state == 'waiting' then
  redis.call('ZADD', PREFIX .. 'due', deadline, id)
  return { 'nothing' }
end
if state == 'scheduled' and tonumber(job[3]) > now then
  redis.call('ZADD', PREFIX .. 'due', math.min(tonumber(job[3]), deadline), id)
  return { 'nothing' }
end

if not has_room then return put_off() end

local sequence, head = job[6], '1'
if not sequence then
  sequence = redis.call('HINCRBY', PREFIX .. 'sequence', job[5], 1)
  head = '0'
end
redis.call('HSET', jk, 'state', 'waiting', 'sequence', sequence, 'published_ms', now)
redis.call('HDEL', jk, 'lease_ms', 'nonce', 'due_ms', 'copies')
redis.call('SREM', PREFIX .. 'scheduled', id)
wait_in_queue(id, job[5], sequence)
redis.call('ZADD', PREFIX .. 'due', deadline, id)
count('republished:' .. (state == 'running' and 'lost_attempt' or 'due'))
return { 'publish', job[7], job[5], job[8], head, job[11] or '0' }
