-- The counter store in Redis: one call answers one request, in one step that nothing comes between.
--
-- A counter is a field, named as its limit, in the hash of its subject; its text is described in counter.h. The sliding count is
-- that of window.h, and the order of checks that of counts_memory.c; test/data/counts.txt holds both stores to the same
-- answers. Numbers go up to 10^15 and are never written by tostring(), which would turn to exponents.
--
-- ARGV[1] is what to do, ARGV[2] the time in ms (-1: this server's). The caller has grouped fields by key and numbered them,
-- so that a key costs one HMGET, one HSET and one PEXPIRE. Whatever is not ours under a key of ours counts as absent; a key of
-- another type is deleted. The first number returned is how often that was seen.

local call, pcall = redis.call, redis.pcall
local tonumber, floor, ceil, format, match = tonumber, math.floor, math.ceil, string.format, string.match
local MOST = 1e15
local what = ARGV[1]
local now = tonumber(ARGV[2])
local junk = 0

if now < 0 then
    local time = call('TIME')
    now = time[1] * 1000 + floor(time[2] / 1000)
end

-- A command on a key of ours; nil when the key is of another type (deleted where we may write). Other errors end the script.
local function try(command, key, ...)
    local reply = pcall(command, key, ...)
    if type(reply) ~= 'table' or not reply.err then
        return reply
    end
    if not string.find(reply.err, 'WRONGTYPE', 1, true) then
        return call(command, key, ...)
    end
    junk = junk + 1
    if what == 'reserve' or what == 'charge' or what == 'deferred' then
        call('DEL', key)
    end
    return nil
end

-- The number that a slot of another window length has in this one, by its last millisecond.
local function map(slot, old, window)
    if old == window then
        return slot
    end
    return floor((ceil((slot + 1) * old / 10) - 1) * 10 / window)
end

local function add(counter, at, amount)
    local count = counter[at] + amount
    counter[at] = count > MOST and MOST or count > 0 and count or 0
end

-- Puts the slots that were listed into the counter; false when they are no slots.
local function fill(counter, list, slot, old)
    local shift, n = 11 - counter.slot, 0
    for digits in string.gmatch(list, '%d+') do
        local count = tonumber(digits)
        n = n + 1
        if count > MOST or n > 11 then
            return false
        end
        if count > 0 then
            local at = map(slot, old, counter.window) + shift
            if at > 0 then
                add(counter, at > 11 and 11 or at, count)
            end
        end
        slot = slot + 1
    end
    return n > 0
end

-- A counter that does not exist yet. Elements 1..11 are the slots, the oldest first; slot is the number of the last.
local function fresh(window)
    return {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, window = window, slot = floor(now * 10 / window), born = now, max = 0,
            refused = 0, held = 0, pending = 0}
end

-- The counter in a text, brought up to now; nil when the text is none. window nil: its own.
local function parse(text, window)
    local max, old, born, slot, list, rest =
        match(text, '^%d+/(%d+) window=(%d+) born=(%d+) slot=(%d+) ([%d,]+)(.*)$')
    if not max then
        return nil
    end
    old, born, slot = tonumber(old), tonumber(born), tonumber(slot)
    if old < 1 or old > MOST or born > MOST or slot > MOST or tonumber(max) > MOST then
        return nil
    end
    local counter = fresh(window or old)
    counter.max = max
    if born < now then
        counter.born = born
    end
    if not fill(counter, list, slot, old) then
        return nil
    end
    if rest ~= '' then
        local refused, held = match(rest, '^ refused=(%d+) held=(%d+)$')
        refused = tonumber(refused or match(rest, '^ refused=(%d+)$') or 0)
        held = tonumber(held or match(rest, '^ held=(%d+)$') or 0)
        if refused + held == 0 or refused > MOST or held > MOST then
            return nil
        end
        counter.refused, counter.held = refused, held
    end
    return counter
end

local function sum(c)
    return c[1] + c[2] + c[3] + c[4] + c[5] + c[6] + c[7] + c[8] + c[9] + c[10] + c[11]
end

local function text(counter)
    local first, last = 1, 11
    while first < 11 and counter[first] == 0 do
        first = first + 1
    end
    while last > first and counter[last] == 0 do
        last = last - 1
    end
    local out = format('%.0f/%s window=%.0f born=%.0f slot=%.0f %.0f', sum(counter), counter.max, counter.window,
                       counter.born, counter.slot - 11 + first, counter[first])
    for i = first + 1, last do
        out = out .. format(',%.0f', counter[i])
    end
    if counter.refused > 0 then
        out = out .. format(' refused=%.0f', counter.refused)
    end
    if counter.held > now then
        out = out .. format(' held=%.0f', counter.held)
    end
    return out
end

-- deferred: remembers a retry. KEYS[1] the set, ARGV[3] the identifier, [4] how many, [5] how long (ms)
if what == 'deferred' then
    local set = KEYS[1]
    if not try('ZADD', set, format('%.0f', now), ARGV[3]) then
        call('ZADD', set, format('%.0f', now), ARGV[3])
    end
    local old = call('ZRANGEBYSCORE', set, '-inf', format('(%.0f', now - tonumber(ARGV[5])), 'LIMIT', 0, 100)
    if #old > 0 then
        call('ZREM', set, unpack(old))
    end
    if call('ZCARD', set) > tonumber(ARGV[4]) then
        call('ZREMRANGEBYRANK', set, 0, 999)
    end
    call('PEXPIRE', set, ARGV[5])
    return {junk}
end

-- change: ARGV[3] how many; for each: number of its key, limit, window, slot, born, amount
if what == 'change' then
    for at = 4, 3 + 6 * ARGV[3], 6 do
        local key, limit = KEYS[tonumber(ARGV[at])], ARGV[at + 1]
        local found = try('HGET', key, limit)
        local counter = found and parse(found)
        if counter and counter.born <= tonumber(ARGV[at + 4]) then
            local amount = tonumber(ARGV[at + 5])
            local slot = map(tonumber(ARGV[at + 3]), tonumber(ARGV[at + 2]), counter.window) - counter.slot + 11
            if slot > 0 or amount > 0 then
                add(counter, slot >= 1 and slot <= 11 and slot or 11, amount)
                call('HSET', key, limit, text(counter))
            end
        elseif found and not counter then
            junk = junk + 1
        end
    end
    return {junk}
end

-- refused: limit ARGV[3] of KEYS[1] has refused ARGV[4] times more
if what == 'refused' then
    local found = try('HGET', KEYS[1], ARGV[3])
    local counter = found and parse(found)
    if counter then
        counter.refused = math.min(counter.refused + tonumber(ARGV[4]), MOST)
        call('HSET', KEYS[1], ARGV[3], text(counter))
    end
    return {junk}
end

-- reserve, peek, charge:
--   ARGV[3] the retry identifier ('': none; its set is then the last of KEYS), [4] the number of the field in which
--   new keys are counted (0: none), [5] new_max, [6] its window, [7] how many asks
--   for each ask: number of its field, of its spill field (0: none), max, window, amount, need, hold, flags, number of the ask that it is a
--   share of (0: none), share_above, slack
--   for each key: ttl, how many fields, their names
local n = tonumber(ARGV[7])
local peek, charge = what == 'peek', what == 'charge'
local key_of, name_of, first_of, at_of = {}, {}, {}, {}
local loaded, counters, exists = {}, {}, {}

do
    local at, field = 8 + n * 11, 0
    local key = 1
    while ARGV[at] do
        at_of[key], first_of[key] = at, field
        local fields = tonumber(ARGV[at + 1])
        for i = 1, fields do
            field = field + 1
            key_of[field], name_of[field] = key, ARGV[at + 1 + i]
        end
        at = at + 2 + fields
        key = key + 1
    end
end

local function load(key)
    local at = at_of[key]
    local values = try('HMGET', KEYS[key], unpack(ARGV, at + 2, at + 1 + ARGV[at + 1]))
    if not values then
        exists[key] = false
        values = {}
    end
    loaded[key] = values
    return values
end

local function is_new(key)
    local values = loaded[key] or load(key)
    if exists[key] == nil then
        exists[key] = false
        for i = 1, #values do
            exists[key] = exists[key] or values[i] ~= false
        end
        exists[key] = exists[key] or call('EXISTS', KEYS[key]) == 1
    end
    return not exists[key]
end

local function get(field, window, hold)
    local counter = counters[field]
    if counter then
        return counter
    end
    local key = key_of[field]
    local found = (loaded[key] or load(key))[field - first_of[key]]
    if found then
        counter = parse(found, window)
        if not counter then
            junk = junk + 1
        end
    end
    counter = counter or fresh(window)
    if counter.held > now + hold then
        counter.held = now + hold
    end
    counter.used = sum(counter)
    counters[field] = counter
    return counter
end

-- Milliseconds until need fits under max.
local function wait_for(counter, max, need)
    if need > max then
        return counter.window + floor(counter.window / 10)
    end
    local over, i = counter.used - (max - need), 1
    while i < 11 and over > counter[i] do
        over = over - counter[i]
        i = i + 1
    end
    return ceil((counter.slot + i) * counter.window / 10) - now
end

local retry = false
if ARGV[3] ~= '' then
    local score = try('ZSCORE', KEYS[#KEYS], ARGV[3])
    if score then
        local ago = now - tonumber(score)
        retry = ago >= 60000 and ago <= 86400000
    end
end

-- Which counter each ask means: that of its key, or of its spill key where its key is new and enough new keys were made.
local new_field, new_max = tonumber(ARGV[4]), tonumber(ARGV[5])
local spills, new_keys, n_new = {}, {}, 0

local function spill(key)
    if spills[key] == nil then
        spills[key] = false
        if is_new(key) then
            spills[key] = get(new_field, tonumber(ARGV[6]), 0).used + n_new >= new_max
            if not spills[key] then
                n_new = n_new + 1
                new_keys[n_new] = key
            end
        end
    end
    return spills[key]
end

local asks = {}
for i = 1, n do
    local at = i * 11 - 3
    local field, other = tonumber(ARGV[at]), ARGV[at + 1]
    local spilled = other ~= '0' and new_field > 0 and spill(key_of[field])
    if spilled then
        field = tonumber(other)
    end
    local hold, flags = tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7])
    asks[i] = {field = field, spilled = spilled, hold = hold, counter = get(field, tonumber(ARGV[at + 3]), charge and MOST or hold),
               attempt = flags % 2 == 1, shadow = flags % 4 >= 2, look = flags >= 4, result = 1, wait = 0}
end

-- Checks all; what another store charged is taken as it is.
local admitted = true
for i = 1, charge and n or 0 do
    local ask = asks[i]
    if ask.hold > 0 and now + ask.hold > ask.counter.held then
        ask.counter.trip = now + ask.hold
    end
end
for i = 1, charge and 0 or n do
    local ask, at = asks[i], i * 11 - 3
    local counter = ask.counter
    local free = retry and ask.attempt
    if counter.held > now then
        ask.result, ask.wait = 3, counter.held - now
    elseif not ask.look then
        local parent = tonumber(ARGV[at + 8])
        if parent == 0 or asks[parent].counter.used >= tonumber(ARGV[at + 9]) then
            local max, need = tonumber(ARGV[at + 2]), counter.pending + (free and 0 or tonumber(ARGV[at + 5]))
            if counter.used + need > max then
                ask.result, ask.wait = 2, wait_for(counter, max, need)
                if ask.hold > 0 and not free and counter.used + need > max + ARGV[at + 10] then
                    counter.trip = now + ask.hold
                    ask.wait = ask.wait < ask.hold and ask.hold or ask.wait
                end
            end
        end
    end
    if ask.result ~= 1 then
        admitted = admitted and ask.shadow
    elseif not ask.look and not ask.attempt then
        counter.pending = counter.pending + tonumber(ARGV[at + 4])
    end
end

-- Charges all or none, and answers.
local answer, written = {junk}, {}
for i = 1, n do
    local ask, at = asks[i], i * 11 - 3
    local counter, refused, slot = ask.counter, ask.result ~= 1, -1
    local used = counter.used
    local charged = ask.attempt and not retry or not ask.attempt and admitted and not refused
    charged = charged and not ask.look
    if (charged or refused) and not peek then
        counter.max = ARGV[at + 2]
        written[ask.field] = true
        if refused then
            counter.refused = counter.refused + 1
        end
        counter.held = counter.trip or counter.held
        if charged then
            add(counter, 11, tonumber(ARGV[at + 4]))
            if not ask.attempt then
                slot = counter.slot
            end
        end
    end
    local to = i * 6 - 4
    answer[to], answer[to + 1], answer[to + 2] = ask.result, used, ask.wait
    answer[to + 3], answer[to + 4], answer[to + 5] = slot, counter.born, ask.spilled and 1 or 0
end
if peek then
    answer[1] = junk
    return answer
end

-- Writes, key by key.
local out = {}
local function put(field)
    local key = key_of[field]
    local list = out[key]
    if list then
        list[#list + 1] = name_of[field]
        list[#list + 1] = text(counters[field])
    else
        out[key] = {name_of[field], text(counters[field])}
    end
end
for field in pairs(written) do
    put(field)
end
local n_made = 0
for i = 1, n_new do
    n_made = n_made + (out[new_keys[i]] and 1 or 0)
end
if n_made > 0 then
    local counter = counters[new_field]
    counter.max = ARGV[5]
    add(counter, 11, n_made)
    put(new_field)
end
for key, list in pairs(out) do
    call('HSET', KEYS[key], unpack(list))
    local ttl = ARGV[at_of[key]]
    if call('PTTL', KEYS[key]) < tonumber(ttl) then
        call('PEXPIRE', KEYS[key], ttl)
    end
end
answer[1] = junk
return answer
