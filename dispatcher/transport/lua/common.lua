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

-- Puts a job into its queue's order. Jobs brought back keep their number, so that they stand where they stood.
local function wait_in_queue(id, queue, sequence)
  redis.call('ZADD', waiting_key(queue), sequence, id)
end

-- Ends a job: records the outcome, announces it, and takes the job out of every index.
-- meta: the outcome in Celery's result format. ttl: {result_key, result_ms, dead, dead_ms, max_dead}
local ANNOUNCED_WHOLE = 65536   -- bytes; a larger outcome is announced by its id and read from the store

local function finish(id, state, meta, ttl, now)
  local jk = job_key(id)
  local job = redis.call('HMGET', jk, 'queue', 'producer', 'function', 'calls')
  redis.call('SET', ttl.result_key, meta, 'PX', ttl.result_ms)
  redis.call('ZREM', key('due'), id)
  redis.call('SREM', key('running'), id)
  redis.call('ZREM', waiting_key(job[1]), id)
  redis.call('HSET', jk, 'state', state, 'settled_ms', now)
  redis.call('HDEL', jk, 'lease_ms', 'due_ms', 'nonce')
  if ttl.dead then
    redis.call('PEXPIRE', jk, ttl.dead_ms)
    redis.call('ZADD', key('dead'), now, id)
    redis.call('PEXPIRE', key('dead'), ttl.dead_ms)
    local over = redis.call('ZCARD', key('dead')) - ttl.max_dead
    if over > 0 then
      local popped = redis.call('ZPOPMIN', key('dead'), over)
      for i = 1, #popped, 2 do redis.call('DEL', job_key(popped[i])) end
    end
  else
    redis.call('HDEL', jk, 'envelope', 'done')
    redis.call('PEXPIRE', jk, ttl.result_ms)
  end
  count('outcome:' .. state .. ':' .. (job[3] or ''), tonumber(job[4]) or 1)
  redis.call('PUBLISH', ttl.result_key, meta)
  if job[2] and job[2] ~= '' then
    if #meta > ANNOUNCED_WHOLE then meta = '' end
    redis.call('PUBLISH', key('announce:' .. job[2]), id .. '\n' .. meta)
  end
end
