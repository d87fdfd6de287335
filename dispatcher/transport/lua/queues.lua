-- Every queue that was ever used, with what waits in it.
-- KEYS: prefix
-- Returns {queue, waiting, highest started sequence number, milliseconds since the longest-waiting job was accepted}
--         for each
local rows = {}
for _, queue in ipairs(redis.call('HKEYS', PREFIX .. 'sequence')) do
  local age = 0
  local oldest = redis.call('ZRANGE', WAITING .. queue, 0, 0)[1]
  if oldest then
    -- Another type of key than a hash is an error, and no job: its place in the order goes when it is looked for.
    local accepted = redis.pcall('HGET', JOB .. oldest, 'accepted_ms')
    age = now - (type(accepted) == 'string' and tonumber(accepted) or now)
  end
  rows[#rows + 1] = { queue, tostring(redis.call('ZCARD', WAITING .. queue)),
    tostring(progress_of(queue)), tostring(age) }
end
return rows
