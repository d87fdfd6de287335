-- Cancels a job. One that does not run ends at once; one that runs is told at its next heartbeat, or, with hard,
-- ends at once as well, and its attempt finds that its lease is lost.
-- KEYS: prefix, result key
-- ARGV: id, reason, hard (0 or 1), meta, result_ms, producer ('' to cancel it whoever shares it)
-- Returns 'unknown', 'settled:<state>', 'cancelled', 'requested', or 'released' (others share it, and it goes on)
local id = ARGV[1]
local jk = JOB .. id
local state = redis.call('HGET', jk, 'state')
if not state or state == 'garbage' then return 'unknown' end
if is_settled(state) then return 'settled:' .. state end
write_when_full()
local sharers = ARGV[6] ~= '' and redis.call('HGET', jk, 'sharers')
if sharers then
  local others = {}
  for sharer in string.gmatch(sharers, '%S+') do
    if sharer ~= ARGV[6] then others[#others + 1] = sharer end
  end
  if #others > 0 then
    redis.call('HSET', jk, 'sharers', table.concat(others, ' '))
    return 'released'
  end
end
redis.call('HSET', jk, 'cancel', ARGV[2])
if state == 'running' and ARGV[3] == '0' then return 'requested' end
conclude(id, 'cancelled', ARGV[4], { result_key = KEYS[2], result_ms = tonumber(ARGV[5]), dead = false })
-- No worker sees this end; the node that sweeps tells Celery's events of it.
redis.call('RPUSH', PREFIX .. 'untold', id)
redis.call('LTRIM', PREFIX .. 'untold', -10000, -1)
redis.call('PEXPIRE', PREFIX .. 'untold', 3600000)
return 'cancelled'
