-- The blocks in Redis, shared by all gates: one call does one of three things in one step.
--
-- KEYS[1] is the hash of the blocks, network -> text as in blocklist.h. KEYS[2] is the order of their changes: a sorted set of the same
-- networks, each with the number of its last change, so that who knows the number asks for what came after it. Its member
-- 'epoch' (minus the time at which it was made) tells a set that was lost and made anew.
--
--   push latest        network at text ...   takes what is newer (what was made after `latest` is nothing); returns epoch, the last number before and after
--   drop               network at ...        forgets entries that have ended, unless they changed since
--   pull epoch number  most                  returns epoch, last number, number reached, network, text, ...

local call, tonumber, format, match = redis.call, tonumber, string.format, string.match
local blocks, order, what = KEYS[1], KEYS[2], ARGV[1]

local function epoch()
    local score = call('ZSCORE', order, 'epoch')
    return score and string.sub(score, 2)
end

local function last()
    local top = call('ZREVRANGE', order, 0, 0, 'WITHSCORES')
    return top[1] and top[1] ~= 'epoch' and tonumber(top[2]) or 0
end

-- The text of a time compares as the time does.
local function changed(text)
    return match(text, ' at=(%S+)') or ''
end

local function is_newer(at, text, old)
    local old_at = changed(old)
    return at > old_at or old_at > ARGV[2] or (at == old_at and text > old)
end

local function push()
    if not epoch() then
        local time = call('TIME')
        call('ZADD', order, format('-%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), 'epoch')
    end
    local before = last()
    local number = before
    for i = 3, #ARGV, 3 do
        local network, at, text = ARGV[i], ARGV[i + 1], ARGV[i + 2]
        local old = call('HGET', blocks, network)
        local newer = not old or is_newer(at, text, old)
        if newer then
            call('HSET', blocks, network, text)
        end
        if newer or not call('ZSCORE', order, network) then
            number = number + 1
            call('ZADD', order, format('%.0f', number), network)
        end
    end
    return {epoch(), before, number}
end

local function drop()
    for i = 2, #ARGV, 2 do
        local text = call('HGET', blocks, ARGV[i])
        if text and changed(text) == ARGV[i + 1] then
            call('HDEL', blocks, ARGV[i])
            call('ZREM', order, ARGV[i])
        end
    end
    if call('EXISTS', blocks) == 0 then
        call('DEL', order)
    end
    return {'0', 0, 0}
end

local function pull()
    local now = epoch()
    if not now or call('EXISTS', blocks) == 0 then
        call('DEL', order) -- one without the other: somebody deleted or evicted it
        return {'0', 0, 0}
    end
    local top, from = last(), tonumber(ARGV[3])
    if now ~= ARGV[2] or top <= from then
        return {now, top, from}
    end
    local rows = call('ZRANGEBYSCORE', order, format('(%.0f', from), '+inf', 'WITHSCORES', 'LIMIT', 0, tonumber(ARGV[4]))
    local reply = {now, top, from}
    for i = 1, #rows, 2 do
        local text = call('HGET', blocks, rows[i])
        if text then
            reply[#reply + 1] = rows[i]
            reply[#reply + 1] = text
        end
        reply[3] = tonumber(rows[i + 1])
    end
    return reply
end

if what == 'push' then
    return push()
elseif what == 'drop' then
    return drop()
end
return pull()
