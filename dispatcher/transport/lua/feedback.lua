-- Logs a feedback, unless its source has said as much as it may within the window.
-- KEYS: prefix
-- ARGV: source, per_source, window_ms, entry, max_feedback, ttl_ms
-- Returns {'logged', position} or {'refused', wait_ms}
local said, limit, window = PREFIX .. 'feedback-source:' .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
-- When the source gave its last ones, the latest first. However they fall, no window holds more than the limit.
local first = tonumber(redis.call('LINDEX', said, limit - 1) or '')
if first and now - first < window then
  count('feedback_refused')
  return { 'refused', tostring(math.min(first + window - now, window)) }
end
local position = redis.call('XADD', PREFIX .. 'feedback', 'MAXLEN', '~', ARGV[5], '*', 'entry', ARGV[4])
redis.call('PEXPIRE', PREFIX .. 'feedback', ARGV[6])
redis.call('LPUSH', said, now)
redis.call('LTRIM', said, 0, limit - 1)
redis.call('PEXPIRE', said, window)
count('feedback')
return { 'logged', position }
