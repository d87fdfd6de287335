-- Makes a draft a kept model, and drops the oldest that are too many: never the champion, nor the one that just came.
-- KEYS: prefix, draft key
-- ARGV: version, what is said of it, promote (0 or 1), kept_models
-- Returns 1, or 0 when the draft is gone
local version = ARGV[1]
if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
redis.call('RENAME', KEYS[2], PREFIX .. 'model:' .. version)
redis.call('PERSIST', PREFIX .. 'model:' .. version)
redis.call('HSET', PREFIX .. 'models', version, ARGV[2])
if ARGV[3] == '1' then redis.call('SET', PREFIX .. 'champion', version) end
local champion = redis.call('GET', PREFIX .. 'champion')
local versions = redis.call('HKEYS', PREFIX .. 'models')
local over = #versions - tonumber(ARGV[4])
table.sort(versions)
for _, old in ipairs(versions) do
  if over > 0 and old ~= version and old ~= champion then
    redis.call('HDEL', PREFIX .. 'models', old)
    redis.call('DEL', PREFIX .. 'model:' .. old)
    over = over - 1
  end
end
return 1
