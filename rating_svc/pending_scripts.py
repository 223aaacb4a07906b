"""What Redis does with pending writes, each in one step."""

from typing import Final

from mesh.pipe import Script

# KEYS: the user's pending writes, the index, then a key for each submission whose client named it.
# ARGV: the user, seconds to keep such a key, then for each submission: movie, epoch, offset, value, index of
# its key or 0.
# A key holds its submission as movie and value. Answers for each: the value of the same submission if it
# came before, else an empty text. A full Redis refuses the first of the writes, so all or none.
# All is read at once, and all rows are written at once: a command costs more than what it does. `before` and
# `rows` are kept as they become, for a movie or a name that comes twice.
PUT: Final = Script("""
local movies, before, rows, changed, answers = {}, {}, {}, {}, {}
for i = 3, #ARGV, 5 do movies[#movies + 1] = ARGV[i] end
for i, row in ipairs(redis.call('HMGET', KEYS[1], unpack(movies))) do rows[movies[i]] = row end
if #KEYS > 2 then
    for i, known in ipairs(redis.call('MGET', unpack(KEYS, 3))) do before[i + 2] = known end
end
for i = 3, #ARGV, 5 do
    local movie, value, key = ARGV[i], ARGV[i + 3], tonumber(ARGV[i + 4])
    local named, first = string.match(before[key] or '', '^(%d+) (.+)$')
    local same = named == movie
        and string.match(first, '^%d+:%-?%d+:(%d+)') == string.match(value, '^%d+:%-?%d+:(%d+)')
    answers[#answers + 1] = same and first or ''
    if not same then
        if key > 0 and not named then
            before[key] = movie .. ' ' .. value
            redis.call('SET', KEYS[key], before[key], 'EX', ARGV[2])
        end
        local epoch, offset = string.match(rows[movie] or '0:-1', '^(%d+):(-?%d+)')
        epoch, offset = tonumber(epoch), tonumber(offset)
        local e, o = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
        if epoch < e or (epoch == e and offset < o) then
            rows[movie] = value
            changed[#changed + 1] = movie
            changed[#changed + 1] = value
        end
    end
end
if #changed > 0 then
    redis.call('HSET', KEYS[1], unpack(changed))
    redis.call('ZADD', KEYS[2], redis.call('TIME')[1], ARGV[1])
    redis.call('PERSIST', KEYS[1])
end
return answers""")

# KEYS: the user's pending writes, the index.
# ARGV: the user, then movie, epoch, offset of each that has been processed; no movie twice.
CLEAR: Final = Script("""
local movies, gone = {}, {}
for i = 2, #ARGV, 3 do movies[#movies + 1] = ARGV[i] end
for i, held in ipairs(redis.call('HMGET', KEYS[1], unpack(movies))) do
    if held then
        local epoch, offset = string.match(held, '^(%d+):(-?%d+)')
        epoch, offset = tonumber(epoch), tonumber(offset)
        local e, o = tonumber(ARGV[i * 3]), tonumber(ARGV[i * 3 + 1])
        if epoch < e or (epoch == e and offset <= o) then gone[#gone + 1] = movies[i] end
    end
end
if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('ZREM', KEYS[2], ARGV[1]) end""")

# KEYS: the index. ARGV: what the keys of pending writes begin with, seconds to keep them, users at most.
# Answers how many users' writes it deleted. Their keys are not among KEYS, which only a cluster would mind.
SWEEP: Final = Script("""
local oldest = redis.call('TIME')[1] - ARGV[2]
local users = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. oldest, 'LIMIT', 0, ARGV[3])
for _, user in ipairs(users) do
    redis.call('DEL', ARGV[1] .. '{' .. user .. '}')
    redis.call('ZREM', KEYS[1], user)
end
return #users""")
