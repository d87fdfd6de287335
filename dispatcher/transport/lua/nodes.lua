-- The worker nodes that are up, by name, with what each last reported.
-- KEYS: prefix
-- ARGV: silence_ms
-- Returns {node, milliseconds since the report, {name, value, …}} for each
local rows = {}
for _, node in ipairs(redis.call('ZRANGEBYSCORE', PREFIX .. 'nodes', '(' .. (now - tonumber(ARGV[1])), '+inf')) do
  local report = redis.call('HGETALL', PREFIX .. 'node:' .. node)
  if #report > 0 then
    local reported = tonumber(redis.call('HGET', PREFIX .. 'node:' .. node, 'reported_ms'))
    rows[#rows + 1] = { node, tostring(now - reported), report }
  end
end
return rows
