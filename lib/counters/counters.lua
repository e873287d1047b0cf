-- The counter store in Redis: one call answers one request, in one step that nothing comes between.
--
-- A counter is a field, named as its limit, in the hash of its subject; its text is described in counter.h. The sliding count is
-- that of window.h, and the order of checks that of memory.c; test/data/counts.txt holds both stores to the same
-- answers. Numbers go up to 10^15; Lua writes those from 10^14 on with an exponent, unless format() is told not to.
--
-- ARGV[1] is what to do, ARGV[2] the time in ms (-1: this server's). Whatever is not ours under a key of ours counts as absent; a
-- key of another type is deleted. The first number returned is how often that was seen.
--
--   plain, reserve, attempts, peek, charge (attempts: something else refused already, so that only attempts are charged):
--     ARGV[3] '', or 'retry' (it is known to be one), or the pair (its two hashes are then the last of KEYS) and the client network; of
--     its deferrals that are to be noted first the client network, how many they are, how long ago (ms) they were
--     [4] how many asks; for each, grouped by key: window, max, and a word: 'h' where it is hard (what it charges is open), what it counts
--     where that is not recipients ('hbytes'), then nothing, or numbers: its field, its overflow field (0: none; its own: where its key is
--     new nothing is charged, and the ask is answered 4), the field in which new keys are counted, how many may be made in a minute, amount, need, hold, flags, ask that it is a share of (0: none), share_above,
--     headroom. No numbers: the i-th field, amount and need 1, the others 0
--     for each key: ttl, how many fields, their names. Fields are numbered through all keys
--     plain: RCPTs that differ in their keys alone may come in one call: KEYS has the keys of each, one after the other. Each is decided for
--     itself, in this order, as by a call of its own; what is answered is then the list of their answers
--   change, settle: [3] how many; [4] 0, or the sequence of this sync: the last of KEYS holds that of the last one; for each, the i-th of
--     KEYS being its key: limit, born, and a text that many of a call have in common: window, slot (-1: by its age), amount, open; or, behind
--     what it counts where that is not recipients, these and age (ms), late, max, ttl, check.
--     settle makes all or none, and answers for each: result, used, wait, taken
--   take, look: ARGV[3] the pair as above: 1 where it is a retry (look: none is used up)
--   lease: charges up to [7] units of limit [3] of KEYS[1] ahead, for the process [8]: window [4], max [5], what it counts [6], ttl [9]; and gives back
--     [10] units of slot [11] of one born [12]. Answers how many, what was used before, the slot, born, and how long until that slot ends
--     (ms). KEYS[2] is where processes that lease are counted
--   refused: limit [3] of KEYS[1] has refused [4] times more
--   deferred: notes deferrals. KEYS two hashes of each, [3] how many; of each: pair, client network, how long ago (ms), number, 1 where
--     so many wait at least
--
-- A deferral lets one later RCPT of its pair pass uncounted. What waits for a pair is a field of one of 64 hashes of its half-day, with
-- the text "t young ripe client": young ones, the first of them deferred at t, let only another client network through, a minute later
-- they are ripe. A pair's two hashes are those of this half-day and of the last. retries.c does the same.

local call, pcall, protected = redis.call, redis.pcall, pcall
local KEYS, ARGV = KEYS, ARGV -- looked up by name, as globals are, they are dear
local tonumber, floor = tonumber, math.floor
local match, gmatch, find, sub, byte = string.match, string.gmatch, string.find, string.sub, string.byte
local format = string.format -- a number by '%d' costs half of what it does where it becomes a text by itself; '%s' costs as much
local what, base, now = ARGV[1], 0 -- the keys of this RCPT are those behind KEYS[base]

if ARGV[2] == '-1' then
    local time = call('TIME')
    now = time[1] * 1000 + floor(time[2] / 1000)
else
    now = tonumber(ARGV[2])
end

-- The current slot of a window, as text. (A number that becomes a text, or the other way round, is dear.)
local current_slots = {}
local function current_slot(window)
    local slot = current_slots[window]
    if not slot then
        slot = format('%d', floor(now * 10 / window))
        current_slots[window] = slot
    end
    return slot
end

-- The number in a text that comes several times in one call.
local numbers = {}
local function number_of(text)
    local number = numbers[text]
    if not number then
        number = tonumber(text)
        numbers[text] = number
    end
    return number
end

-- plain: what nearly every RCPT asks: each ask has a field of its own and charges 1, max below 10^14. Where all fit, no key is new that may overflow, nothing
-- is held and it is no retry, the rest of this script (its functions alone cost 2 us) is not needed, nor most of a counter: used and
-- born are taken over as text, and the slots too while their time has not come.

-- Counts one more in a counter (false: there is none), for the ask at `at`: what was used and when it was born, as texts, its new text, and
-- how its key may have to live longer (see live()). nil: it is not plain. New counters of an ask are alike in all RCPTs of a call.
local stamp, new_texts = what == 'plain' and format('%d', now), {}
local function one_more(text, at)
    local window, max, word, hard, unit = ARGV[at], ARGV[at + 1], ARGV[at + 2], false, ''
    if not text and new_texts[at] then
        return '0', stamp, new_texts[at], 'NX'
    end
    local slot = current_slot(window)
    if word ~= '' then
        hard, unit = byte(word) == 104, match(word, '^h?(%l*)')
        unit = (unit ~= '' and ' ' .. unit or '') .. (hard and ' h' or '')
    end
    if not text then
        if max == '0' or word ~= '' and not match(word, '^%l*$') and not match(word, '^%l* ?%d+ 0 ') then
            return nil
        end
        text = '1/' .. max .. ' window=' .. window .. ' born=' .. stamp .. ' slot=' .. slot .. (hard and ' 1:1' or ' 1') .. unit
        new_texts[at] = text
        return '0', stamp, text, 'NX'
    end
    local used, same, born, newest, list, rest = match(text, '^(%d+)/%d+ window=(%d+) born=(%d+) slot=(%d+) (%d[%d:,]*)(.*)$')
    if same ~= window or #born > 15 or rest ~= unit and not match(rest, '^ refused=%d+' .. unit .. '$') then
        return nil
    end
    local was, more = used
    used = tonumber(used)
    local ago, counts = newest == slot and 0 or slot - newest, hard and '1:1' or '1'
    if ago == 0 then
        more = format('%d', used + 1)
        local first, open, older = match(list, '^(%d+):?(%d*)(.*)$')
        first = first == was and used or tonumber(first)
        if first > used or open ~= '' and tonumber(open) > first then
            return nil
        end
        if hard then
            open = open == '' and 1 or open + 1
        end
        counts = (first == used and more or format('%d', first + 1)) .. (open == '' and '' or ':' .. open) .. older
    elseif ago < 0 then
        return nil
    elseif ago > 10 then
        used = 0
    else
        counts = counts .. string.rep(',0', ago - 1)
        local back = ago
        for count in gmatch(list, '[^,]+') do
            back = back + 1
            if back <= 11 then
                counts = counts .. ',' .. count
            else
                used = used - (tonumber(match(count, '^%d+')) or 0)
            end
        end
    end
    if used + 1 > number_of(max) then
        return nil
    end
    more = (more or format('%d', used + 1)) .. '/' .. max .. ' window=' .. window .. ' born=' .. born .. ' slot=' .. slot .. ' ' .. counts .. rest
    return ago == 0 and was or format('%d', used), born, more, ago > 0 and 'GT'
end

-- A key lives for so long at least. One command does where how is right: 'NX', it is new; 'GT', it is to live longer than it was. Redis 6 knows
-- neither.
local function live(key, ttl, how)
    if how and pcall('PEXPIRE', key, ttl, how) == 1 then
        return
    end
    if call('PTTL', key) < tonumber(ttl) then
        call('PEXPIRE', key, ttl)
    end
end

-- Returns a text: the time, then used and born of each ask; nil: not so, and nothing was changed.
local function plain()
    if ARGV[3] ~= '' then
        local pair = match(ARGV[3], '^%S+')
        if pcall('HGET', KEYS[#KEYS - 1], pair) or pcall('HGET', KEYS[#KEYS], pair) then
            return nil
        end
    end
    if ARGV[4] == '1' then -- one limit: without the lists below
        local text = pcall('HGET', KEYS[base + 1], ARGV[10])
        if type(text) == 'table' then
            return nil
        end
        local used, born, put, late = one_more(text, 5)
        if not used then
            return nil
        end
        call('HSET', KEYS[base + 1], ARGV[10], put)
        if late then
            live(KEYS[base + 1], ARGV[8], late)
        end
        return stamp .. ' ' .. used .. ' ' .. born
    end
    local answer, writes, late = {stamp}, {}, {}
    local ask, last, k = 5, 5 + 3 * ARGV[4], 0
    local at = last
    while ask < last do -- the keys that new ones may overflow into come after those of all asks
        k = k + 1
        local n, put = tonumber(ARGV[at + 1]), {}
        local texts = pcall('HMGET', KEYS[base + k], unpack(ARGV, at + 2, at + 1 + n))
        if texts.err then
            return nil
        end
        for i = 1, n do
            local used, born, text, later = one_more(texts[i], ask)
            if not used then
                return nil
            end
            put[2 * i - 1], put[2 * i] = ARGV[at + 1 + i], text
            answer[#answer + 1], answer[#answer + 2] = used, born
            late[k] = late[k] or later
            ask = ask + 3
        end
        writes[k] = put
        at = at + 2 + n
    end
    at = last
    for k = 1, #writes do
        call('HSET', KEYS[base + k], unpack(writes[k]))
        if late[k] then
            live(KEYS[base + k], ARGV[at], late[k])
        end
        at = at + 2 + ARGV[at + 1]
    end
    return table.concat(answer, ' ')
end

local keys = #KEYS -- of one RCPT
if what == 'plain' then
    if keys > 1 and ARGV[3] == '' then -- as many as are listed
        local at = 5 + 3 * ARGV[4]
        keys = 0
        while ARGV[at] do
            keys, at = keys + 1, at + 2 + ARGV[at + 1]
        end
    end
    local answer = keys == #KEYS and plain()
    if answer then
        return answer
    end
    what = 'reserve'
end

-- Answers the RCPTs that came together, until one() has no answer. An error is an answer to that RCPT.
local answers = {}
local function answer_several(one)
    while base < #KEYS do
        local good, answer = protected(one)
        if good and not answer then
            return
        end
        if type(answer) == 'string' and not good then -- Redis 6 says where it was, and then ': -' and what it was
            answer = {err = match(answer, ': %-(.*)$') or answer}
        end
        answers[#answers + 1] = answer
        base = base + keys
    end
end

if keys < #KEYS then
    answer_several(plain)
    if base == #KEYS then
        return answers
    end
end

-- What the i-th change is: its key, limit, born, and the rest, which most of a call have in common and is read once.
local kinds = {}
local function read_change(i)
    local words = ARGV[4 + 3 * i]
    local kind = kinds[words]
    if not kind then
        local unit, window, slot, amount, open, rest = match(words, '^(%l*) ?(%d+) (%-?%d+) (%-?%d+) (%-?%d+)(.*)$')
        kind = {window = window, slot = slot, amount = tonumber(amount), open = tonumber(open), age = 0, late = 0,
                before_born = ' window=' .. window .. ' born=', after_born = ' slot=' .. slot .. ' ', current = slot == current_slot(window)}
        if rest ~= '' then
            local age, late, max, ttl, check = match(rest, '^ (%d+) (%d+) (%d+) (%d+) (%d+)$')
            kind.unit, kind.age, kind.late, kind.max, kind.ttl, kind.check = unit, tonumber(age), tonumber(late), max, tonumber(ttl), check
        end
        kinds[words] = kind
    end
    return KEYS[i], ARGV[2 + 3 * i], ARGV[3 + 3 * i], kind
end

-- A slot after a change, as text, and how much more it counts; nil: it stays as it is.
local function changed_slot(count, open, kind)
    count, open = number_of(count), open == '' and 0 or number_of(open)
    local left, still = count + kind.amount, open + kind.open
    left = left > 0 and left or 0
    still = still > left and left or still > 0 and still or 0
    if left ~= count or still ~= open then
        return still > 0 and format('%d:%d', left, still) or format('%d', left), left - count
    end
end

-- Nearly always it was charged a moment ago: the slot is the newest, and current, and what stands before it is known but for used and
-- max. false: not so.
local function newest_changed(key, limit, born, kind, found)
    local _, ends = find(found, kind.before_born .. born .. kind.after_born, 1, true)
    if not ends or not kind.current then
        return false
    end
    local used = match(found, '^%d+')
    local first, open, older = match(found, '^(%d+):?(%d*)(.*)$', ends + 1)
    if not used or not first or #used > 14 or #first > 14 or find(older, ' held=', 1, true) then
        return false
    end
    local item, more = changed_slot(first, open, kind)
    if item then
        call('HSET', key, limit, format('%d', number_of(used) + more) .. sub(found, #used + 1, ends) .. item .. older)
    end
    return true
end

-- change, where all is as usual: the window has not changed, nothing is held, and the slot is named by its number. Only that slot's text is
-- written anew. Returns the first change that needs more, and nothing was done of it and those behind it; nil: there is none.
local function short_changes()
    for i = 1, ARGV[3] do
        local key, limit, created, kind = read_change(i)
        local found = pcall('HGET', key, limit)
        if kind.unit or kind.amount > 0 or type(found) == 'table' then -- nothing is added: the slot may not be listed
            return i
        end
        if found and not newest_changed(key, limit, created, kind, found) then
            local used, head, window, born, newest, list, rest =
                match(found, '^(%d+)(/%d+ window=(%d+) born=(%d+) slot=(%d+)) (%d[%d:,]*)(.*)$')
            local current, slot = floor(now * 10 / kind.window), tonumber(kind.slot)
            if window ~= kind.window or slot > tonumber(newest) or tonumber(newest) > current or tonumber(used) >= 1e14 or
               match(rest, ' held=') then
                return i
            end
            if born == created and current - slot <= 10 then
                local ago, last, items, changed = newest - slot, 10 - current + newest, {}, false
                for item in gmatch(list, '[^,]+') do
                    local count, open = match(item, '^(%d+):?(%d*)$')
                    if not count or tonumber(count) >= 1e14 then
                        return i
                    elseif #items > last then
                        used = used - count -- has left the window
                    else
                        if #items == ago then
                            local now_is, more = changed_slot(count, open, kind)
                            changed, item, used = now_is, now_is or item, used + (more or 0)
                        end
                        items[#items + 1] = item
                    end
                end
                if changed then
                    call('HSET', key, limit, used .. head .. ' ' .. table.concat(items, ',') .. rest)
                end
            end
        end
    end
end

local first_change = 1
if what == 'change' and ARGV[4] == '0' then
    first_change = short_changes()
    if not first_change then
        return {0}
    end
end

local ceil = math.ceil
local MOST = 1e15
local junk = 0

-- A command on a key of ours; nil when the key is of another type (deleted where we may write). Other errors end the script.
local function try(command, key, ...)
    local reply = pcall(command, key, ...)
    if type(reply) ~= 'table' or not reply.err then
        return reply
    end
    if string.find(reply.err, "can't run this command", 1, true) then
        error("no permissions to run the '" .. command .. "' command") -- Redis 7.0 does not say which
    elseif not string.find(reply.err, 'WRONGTYPE', 1, true) then
        return call(command, key, ...)
    end
    junk = junk + 1
    if what ~= 'peek' and what ~= 'look' and what ~= 'change' and what ~= 'settle' and what ~= 'refused' then
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

-- Adds to a slot, both parts of it. The open part of slot i is element i + 11.
local function add(counter, at, amount, open)
    local count, left = counter[at] + amount, counter[at + 11] + open
    count = count > MOST and MOST or count > 0 and count or 0
    counter[at] = count
    counter[at + 11] = left > count and count or left > 0 and left or 0
end

-- Puts the slots that were listed, from number slot back, into the counter; false when they are no slots. What comes from longer slots,
-- or from the future (the clock was set back), may have been charged before this window began: all of it is open.
local function fill(counter, list, slot, old)
    local n = 0
    for item in gmatch(list, '[^,]+') do
        local count, open = tonumber(item), 0
        if not count then
            count, open = match(item, '^(%d+):(%d+)$')
            count, open = tonumber(count), tonumber(open)
        end
        n = n + 1
        if not count or count > MOST or open > MOST or n > 11 then
            return false
        end
        if count > 0 then
            local at = counter.slot - map(slot, old, counter.window) + 1
            if at <= 11 then
                add(counter, at < 1 and 1 or at, count, (at < 1 or old > counter.window) and count or open)
            end
        end
        slot = slot - 1
    end
    return n > 0
end

local UNITS = {messages = true, bytes = true, attempts = true}

-- A counter that does not exist yet. Elements 1..11 are the slots, the current one first, 12..22 what is open of them; slot is the
-- number of the current one.
local function fresh(window)
    return {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, window = window, slot = floor(now * 10 / window),
            born = now, max = 0, refused = 0, held = 0, unit = '', hard = false, words = '', pending = 0}
end

-- What follows the slots, each behind a space: what is not known here is kept. false: it is none of that.
local function read_words(counter, rest)
    local n = 0
    for word in gmatch(rest, ' ([^ ]+)') do
        local name, value = match(word, '^(%a+)=(.*)$')
        if name == 'refused' or name == 'held' then
            local number = match(value, '^%d+$') and tonumber(value)
            if not number or number > MOST then
                return false
            end
            counter[name] = number
        elseif UNITS[word] then
            counter.unit = word
        elseif word == 'h' then
            counter.hard = true
        else
            counter.words = counter.words .. ' ' .. word
        end
        n = n + 1 + #word
    end
    return n == #rest and #counter.words <= 256
end

-- The counter in a text, brought up to now; nil when the text is none. window nil: its own.
local function parse(text, window)
    local max, old, born, slot, list, rest =
        match(text, '^%d+/(%d+) window=(%d+) born=(%d+) slot=(%d+) ([%d:,]+)(.*)$')
    if not max then
        return nil
    end
    old, born, slot = tonumber(old), tonumber(born), tonumber(slot)
    if old < 1 or old > MOST or born > MOST or slot > MOST or tonumber(max) > MOST then
        return nil
    end
    local counter = fresh(window or old)
    counter.max, counter.born = max, born
    if old == counter.window and slot > counter.slot then -- as window_move() has it: the newest in which something is
        local zeros = #match(list, '^[0,]*')
        local filled = slot - floor(zeros / 2)
        if zeros < #list and filled > counter.slot and ceil(filled * old / 10) - now <= 10000 then
            counter.slot = filled
        end
    end
    if not fill(counter, list, slot, old) or rest ~= '' and not read_words(counter, rest) then
        return nil
    end
    return counter
end

local function sum(c)
    return c[1] + c[2] + c[3] + c[4] + c[5] + c[6] + c[7] + c[8] + c[9] + c[10] + c[11]
end

local function sum_open(c)
    return c[12] + c[13] + c[14] + c[15] + c[16] + c[17] + c[18] + c[19] + c[20] + c[21] + c[22]
end

-- From now on it says what is taken. What is there was charged by a limit that was soft, so that nobody said when it was: all is open.
local function harden(counter)
    for i = 1, 11 do
        counter[i + 11] = counter[i]
    end
    counter.hard, counter.taken = true, 0
end

-- Charges a unit that is no attempt, to the newest slot. What a soft limit charges to a hard counter stays open. Once nothing there is taken
-- it says so no longer.
local function charge_open(counter, amount, hard)
    if counter.hard and not hard and sum(counter) == sum_open(counter) then
        for i = 12, 22 do
            counter[i] = 0
        end
        counter.hard = false
    end
    add(counter, 1, amount, counter.hard and amount or 0)
end

local function slot_text(counter, i)
    return counter[i + 11] > 0 and format('%.0f:%.0f', counter[i], counter[i + 11]) or format('%.0f', counter[i])
end

local function text(counter)
    local first, last = 1, 11
    while first < 11 and counter[first] == 0 do
        first = first + 1
    end
    while last > first and counter[last] == 0 do
        last = last - 1
    end
    local out = format('%.0f/%s window=%.0f born=%.0f slot=%.0f ', math.min(sum(counter), MOST), counter.max, counter.window,
                       counter.born, counter.slot + 1 - first) .. slot_text(counter, first)
    for i = first + 1, last do
        out = out .. ',' .. slot_text(counter, i)
    end
    if counter.refused > 0 then
        out = out .. format(' refused=%.0f', counter.refused)
    end
    if counter.held > now then
        out = out .. format(' held=%.0f', counter.held)
    end
    if counter.unit ~= '' then
        out = out .. ' ' .. counter.unit
    end
    if counter.hard then
        out = out .. ' h'
    end
    return out .. counter.words
end

-- Milliseconds until need fits under max, beside all that was charged (open 0) or what of it is taken (open 1).
local function wait_for(counter, max, need, open)
    if need > max then
        return counter.window + floor(counter.window / 10)
    end
    local over, i = sum(counter) - open * sum_open(counter) - (max - need), 11
    local count = counter[11] - open * counter[22]
    while i > 1 and over > count do
        over = over - count
        i = i - 1
        count = counter[i] - open * counter[i + 11]
    end
    return ceil((counter.slot + 12 - i) * counter.window / 10) - now
end

local WAITING, RIPE_AFTER, MOST_PAIRS, TWO_HALF_DAYS = 16, 60000, 3125, 86400000

-- What waits for a pair in one hash, brought up to now.
local function waiting(key, pair)
    local found = try('HGET', key, pair)
    local t, young, ripe, client = match(found or '', '^(%d+) (%d%d?) (%d%d?) (%S+)$')
    if found and not t then
        junk = junk + 1
    end
    local wait = {key = key, pair = pair, found = found, client = client, t = math.min(tonumber(t or now), now),
                  young = tonumber(young or 0), ripe = tonumber(ripe or 0)}
    if wait.young > 0 and now - wait.t >= RIPE_AFTER then
        wait.ripe, wait.young = wait.ripe + wait.young, 0
    end
    return wait
end

local function keep(wait)
    if wait.young + wait.ripe == 0 then
        call('HDEL', wait.key, wait.pair)
        return
    end
    local pairs_there = call('HLEN', wait.key)
    if wait.found or pairs_there < MOST_PAIRS then
        call('HSET', wait.key, wait.pair, format('%.0f %.0f %.0f %s', wait.t, wait.young, wait.ripe, wait.client))
        wait.found = true
    end
    if pairs_there == 0 then
        call('PEXPIRE', wait.key, TWO_HALF_DAYS)
    end
end

local function note(wait, last, client, ago, n, least)
    local there = wait.young + wait.ripe
    n = math.min(least and n - there or n, WAITING - there - last.young - last.ripe)
    wait.client = client
    if n > 0 then
        if wait.young == 0 then
            wait.t = now - ago
        end
        wait.young = wait.young + n
    end
    if there > 0 or n > 0 then
        keep(wait)
    end
end

-- Uses up one that waits, the older first; true: there was one.
local function take(wait, last, client, look)
    local from = last.ripe > 0 and last or wait.ripe > 0 and wait
    local of = 'ripe'
    if not from then
        of = 'young'
        from = last.young > 0 and last.client ~= client and last or wait.young > 0 and wait.client ~= client and wait
    end
    if from and not look then
        from[of] = from[of] - 1
        keep(from)
    end
    return from and true or false
end

-- Is what ARGV[3] names a retry? What it says was deferred is noted first.
local function ask_pair(look)
    local pair, client, deferred, n, ago = match(ARGV[3], '^(%S+) (%S+) (%S+) (%d+) (%d+)$')
    if not pair then
        return ARGV[3] == 'retry'
    end
    local wait, last = waiting(KEYS[#KEYS - 1], pair), waiting(KEYS[#KEYS], pair)
    if n ~= '0' and not look then
        note(wait, last, deferred, tonumber(ago), tonumber(n))
    end
    return take(wait, last, client, look)
end

if what == 'take' or what == 'look' then
    local retry = ask_pair(what == 'look')
    return {junk, retry and 1 or 0}
end

if what == 'deferred' then
    for i = 1, tonumber(ARGV[3]) do
        local at = 5 * i - 1
        note(waiting(KEYS[2 * i - 1], ARGV[at]), waiting(KEYS[2 * i], ARGV[at]), ARGV[at + 1], tonumber(ARGV[at + 2]),
             tonumber(ARGV[at + 3]), ARGV[at + 4] == '1')
    end
    return {junk}
end

if what == 'change' or what == 'settle' then
    local sequence, last = tonumber(ARGV[4]), KEYS[#KEYS]
    if sequence > 0 then
        if sequence <= (tonumber(try('HGET', last, 'turn') or 0) or 0) then
            return {junk}
        end
        call('HSET', last, 'turn', ARGV[4]) -- a hash, so that an ACL needs to allow nothing beside what counters need
        call('PEXPIRE', last, 3024000000)   -- 35 days: longer than any window
    end

    local known, answer = {}, {junk}

    -- The counter that is changed; false: none.
    local function counter_of(key, limit)
        local name = key .. ' ' .. limit
        if known[name] == nil then
            local found = try('HGET', key, limit)
            known[name] = found and parse(found) or false
            if found and not known[name] then
                junk = junk + 1
            end
        end
        return known[name], name
    end

    -- How many slots ago something was that is so old.
    local function slots_ago(counter, age)
        return counter.slot - floor((now - age) * 10 / counter.window)
    end

    -- What is longer than the window is counted when it ends, also where its counter is gone by now.
    local function count_late(key, limit, kind, counter)
        if not counter then
            counter = fresh(tonumber(kind.window))
            counter.unit = kind.unit
        end
        local ago = slots_ago(counter, kind.age)
        if ago > 10 then
            return
        end
        counter.max = kind.max
        counter.hard = counter.hard or sum(counter) == 0 -- it is taken, and there is nothing else
        add(counter, ago < 0 and 1 or ago + 1, kind.late, 0)
        known[key .. ' ' .. limit] = counter
        call('HSET', key, limit, text(counter))
        if call('PTTL', key) < kind.ttl then
            call('PEXPIRE', key, format('%.0f', kind.ttl))
        end
    end

    local function change(i)
        local key, limit, born, kind = read_change(i)
        local counter = counter_of(key, limit)
        local window, slot = tonumber(kind.window), tonumber(kind.slot)
        born = tonumber(born)
        local ago
        if counter and kind.unit and counter.unit ~= kind.unit then
            return -- the limit counts something else since; without a unit it was born at another time
        end
        if slot < 0 then
            ago = counter and slots_ago(counter, kind.age) or 0
        elseif counter then
            ago = counter.slot - map(slot, window, counter.window)
        else
            ago = floor(now * 10 / window) - slot
        end
        if ago > 10 then
            if kind.late > 0 then
                count_late(key, limit, kind, counter)
            end
        elseif counter and (born == counter.born or born > MOST) then
            local to = ago < 0 and 1 or ago + 1
            local count, open = counter[to], counter[to + 11]
            local amount, opened = kind.amount, kind.open
            if slot >= 0 and window > counter.window then -- what is taken of it may have been before this window
                opened = math.max(opened, amount)
            end
            add(counter, to, amount, opened)
            if counter[to] ~= count or counter[to + 11] ~= open then -- else not even the window moves: the clock may have been set back
                call('HSET', key, limit, text(counter))
            end
        end
    end

    local pending = {}

    -- Whether its check refuses the i-th change; answers for it.
    local function refuses(i)
        local key, limit, _, kind = read_change(i)
        local counter, name = counter_of(key, limit)
        counter = counter or fresh(tonumber(kind.window))
        local used, over, wait, need = sum(counter), false, 0, (pending[name] or 0) + kind.amount
        local max = tonumber(kind.max or 0)
        if kind.check == '1' and used >= max then
            over, wait = true, wait_for(counter, max, 1, 0)
        elseif kind.check == '2' and used + need > max then
            over, wait = true, wait_for(counter, max, need, 0)
        end
        pending[name] = need
        local to = #answer
        answer[to + 1], answer[to + 2], answer[to + 3], answer[to + 4] = over and 2 or 1, used, wait, used - sum_open(counter)
        return over
    end

    local refused = false
    for i = 1, what == 'settle' and ARGV[3] or 0 do
        refused = refuses(i) or refused
    end
    for i = first_change, refused and 0 or ARGV[3] do
        change(i)
    end
    answer[1] = junk
    return answer
end

if what == 'refused' then
    local found = try('HGET', KEYS[1], ARGV[3])
    local counter = found and parse(found)
    if counter then
        counter.refused = math.min(counter.refused + tonumber(ARGV[4]), MOST)
        call('HSET', KEYS[1], ARGV[3], text(counter))
    end
    return {junk}
end

-- How many processes lease now. A hash names those that did in the last ten seconds or so, and remembers how many there were before.
local function lessees(key, process)
    local seen = try('HMGET', key, 'since', 'before') or {}
    local since, before = tonumber(seen[1]), tonumber(seen[2]) or 1
    if not since or now < since or now - since >= 10000 then
        before = since and math.max(call('HLEN', key) - 2, 1) or 1
        call('DEL', key)
        call('HSET', key, 'since', format('%d', now), 'before', before)
        call('PEXPIRE', key, 30000)
    end
    call('HSET', key, process, 1)
    return math.max(call('HLEN', key) - 2, before)
end

if what == 'lease' then
    local window, max = tonumber(ARGV[4]), tonumber(ARGV[5])
    local found = try('HGET', KEYS[1], ARGV[3])
    local counter = found and parse(found, window)
    if found and not counter then
        junk = junk + 1
    end
    if not counter or counter.unit ~= ARGV[6] then
        counter = fresh(window)
        counter.unit = ARGV[6]
    end
    local ago = counter.slot - ARGV[11]
    if counter.born == tonumber(ARGV[12]) and ago >= 0 and ago <= 10 then
        add(counter, ago + 1, -ARGV[10], -ARGV[10])
    end
    local used = sum(counter)
    local units = math.min(tonumber(ARGV[7]), floor((max - used) / (4 * lessees(KEYS[2], ARGV[8])))) -- so that there is room for others
    if units < 2 or counter.held > now then
        units = 0
    end
    if units > 0 or found and ARGV[10] ~= '0' then
        counter.max = ARGV[5]
        charge_open(counter, units, false)
        call('HSET', KEYS[1], ARGV[3], text(counter))
        live(KEYS[1], ARGV[9])
    end
    return {junk, units, used, counter.slot, counter.born, ceil((counter.slot + 1) * window / 10) - 1 - now}
end

-- What is left: reserve, attempts, peek, charge, and what is not plain, with all there is.
local n = tonumber(ARGV[4])
local peek, charge = what == 'peek', what == 'charge'
local key_of, name_of, first_of, at_of = {}, {}, {}, {}
local loaded, counters, exists, overflows, new_keys, n_new, asks, retry -- of the RCPT that is answered

do
    local at, key, field = 5 + 3 * n, 1, 0
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
    local values = try('HMGET', KEYS[base + key], unpack(ARGV, at + 2, at + 1 + ARGV[at + 1]))
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
        exists[key] = exists[key] or call('EXISTS', KEYS[base + key]) == 1
    end
    return not exists[key]
end

local function get(field, window, hold, unit)
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
    if not counter or counter.unit ~= unit then -- none, or it counted something else
        counter = fresh(window)
        counter.unit = unit
    end
    if counter.held > now + hold then
        counter.held = now + hold
    end
    counter.used = sum(counter)
    counter.taken = counter.used - sum_open(counter)
    counters[field] = counter
    return counter
end

-- Whether an ask means the counter of its overflow key: its key is new and enough new keys were made.
local NEW_WINDOW = 60000

local function overflow(key, new_field, new_max)
    if overflows[key] == nil then
        overflows[key] = false
        if is_new(key) then
            local n = n_new[new_field] or 0
            overflows[key] = get(new_field, NEW_WINDOW, 0, '').used + n >= new_max
            if not overflows[key] then
                n_new[new_field] = n + 1
                new_keys[#new_keys + 1] = {key = key, field = new_field, max = new_max}
            end
        end
    end
    return overflows[key]
end

local function read_ask(i)
    local at = 2 + 3 * i
    local hard, unit, field, other, new_field, new_max, amount, need, hold, flags, parent, above, headroom =
        match(ARGV[at + 2], '^(h?)(%l*) ?(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$')
    if not field then
        hard, unit = match(ARGV[at + 2], '^(h?)(%l*)$')
    end
    flags = tonumber(flags or 0)
    local ask = {field = tonumber(field or i), window = tonumber(ARGV[at]), max = tonumber(ARGV[at + 1]), max_text = ARGV[at + 1],
                 amount = tonumber(amount or 1), need = tonumber(need or 1), hold = tonumber(hold or 0),
                 parent = tonumber(parent or 0), above = tonumber(above), headroom = tonumber(headroom or 0),
                 attempt = flags % 2 == 1, shadow = flags % 4 >= 2, look = flags % 8 >= 4, again = flags >= 64, result = 1, wait = 0,
                 hard = hard == 'h', hard_for = 0}
    if other and other == field then
        ask.absent = is_new(key_of[ask.field])
    elseif other and other ~= '0' and overflow(key_of[ask.field], tonumber(new_field), tonumber(new_max)) then
        -- strangers share it: nobody holds it, and it answers for nobody for good
        ask.field, ask.overflowed, ask.hold, ask.hard = tonumber(other), true, 0, false
    end
    ask.counter = get(ask.field, ask.window, charge and MOST or ask.hold, unit or '')
    if ask.hard and not ask.counter.hard then
        harden(ask.counter)
    end
    return ask
end

-- For how long what is taken refuses by itself; 0: it does not.
local function hard_for(ask, need)
    local counter, whole = ask.counter, ask.max + ask.headroom
    if ask.overflowed or counter.taken + need <= whole then
        return 0
    end
    local ms = wait_for(counter, whole, need, 1)
    if ask.parent == 0 then
        return ms
    end
    local parent = asks[ask.parent].counter
    return not asks[ask.parent].overflowed and parent.taken >= ask.above and math.min(ms, wait_for(parent, ask.above, 1, 1)) or 0
end

-- It does not fit.
local function refuse(ask, pending, need, free)
    local counter, max = ask.counter, ask.max
    ask.result, ask.wait, ask.hard_for = 2, wait_for(counter, max, pending + need, 0), hard_for(ask, need)
    if ask.parent ~= 0 then
        ask.wait = math.min(ask.wait, wait_for(asks[ask.parent].counter, ask.above, 1, 0))
    end
    local least = math.min(need, math.max(1, floor(max / 10)))
    if ask.hold > 0 and not free and ask.hard_for > 0 and counter.taken + least > max + ask.headroom then
        counter.trip = now + ask.hold
        ask.wait = math.max(ask.wait, ask.hold)
    end
end

-- Checks one; asks that count the same counter add up.
local function check(ask)
    local counter = ask.counter
    local free = retry and ask.attempt
    if counter.held > now then
        ask.result, ask.wait = 3, counter.held - now
        ask.hard_for = ask.wait
    elseif not ask.look and (ask.parent == 0 or asks[ask.parent].counter.used >= ask.above) then
        local need = free and 0 or ask.need
        if counter.used + counter.pending + need > ask.max then
            refuse(ask, counter.pending, need, free)
        end
    end
    if ask.result == 1 and not ask.look and not ask.attempt then
        counter.pending = counter.pending + ask.amount
    end
    return ask.result == 1 or ask.shadow
end

-- What was asked for only where it exists, and does not.
local function answer_absent()
    local answer = {junk}
    for i = 1, n do
        local to = i * 8 - 6
        for k = to, to + 7 do
            answer[k] = 0
        end
        answer[to] = asks[i].absent and 4 or 1
    end
    return answer
end

-- What another store charged is taken as it is.
local function check_all()
    local admitted = what ~= 'attempts'
    for i = 1, n do
        local ask = asks[i]
        if not charge then
            admitted = check(ask) and admitted
        elseif ask.hold > 0 and now + ask.hold > ask.counter.held then
            ask.counter.trip = now + ask.hold
        end
    end
    return admitted
end

-- Charges all or none, and answers: for each ask result, used, wait, slot, born, 1 (overflow) + 2 (a retry), taken, and for how long it
-- is hard. Then which fields are to be written.
local function charge_all(admitted)
    local answer, written = {junk}, {}
    for i = 1, n do
        local ask = asks[i]
        local counter, refused, slot = ask.counter, ask.result ~= 1, -1
        local used = counter.used
        local charged = ask.attempt and not retry or not ask.attempt and admitted and not refused
        charged = charged and not ask.look
        local corrects = ask.again and not refused and counter.refused > 0 -- it was none after all
        if (charged or refused or corrects) and not peek then
            counter.max = ask.max_text
            written[ask.field] = true
            if refused and not ask.again then
                counter.refused = counter.refused + 1
            elseif corrects then
                counter.refused = counter.refused - 1
            end
            counter.held = counter.trip or counter.held
            if charged then
                if ask.attempt then
                    add(counter, 1, ask.amount, 0)
                else
                    charge_open(counter, ask.amount, ask.hard)
                    slot = counter.slot
                end
            end
        end
        local to = i * 8 - 6
        answer[to], answer[to + 1], answer[to + 2] = ask.result, used, ask.wait
        answer[to + 3], answer[to + 4], answer[to + 5] = slot, counter.born, (ask.overflowed and 1 or 0) + (retry and 2 or 0)
        answer[to + 6], answer[to + 7] = counter.taken, ask.hard_for
    end
    return answer, written
end

-- Key by key.
local function write_all(written)
    local out, new_fields = {}, {}
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
    for i = 1, #new_keys do
        local new = new_keys[i]
        if out[new.key] then
            counters[new.field].max = format('%.0f', new.max)
            add(counters[new.field], 1, 1, 0)
            new_fields[new.field] = true
        end
    end
    for field in pairs(new_fields) do
        put(field)
    end
    for key, list in pairs(out) do
        call('HSET', KEYS[base + key], unpack(list))
        live(KEYS[base + key], ARGV[at_of[key]])
    end
end

local function reserve()
    junk, loaded, counters, exists, overflows, new_keys, n_new, asks = 0, {}, {}, {}, {}, {}, {}, {}
    retry = ask_pair(peek)
    local absent = false
    for i = 1, n do
        asks[i] = read_ask(i)
        absent = absent or asks[i].absent
    end
    if absent then
        return answer_absent()
    end
    local answer, written = charge_all(check_all())
    if not peek then
        write_all(written)
    end
    return answer
end

if keys == #KEYS then
    return reserve()
end
answer_several(function()
    return plain() or reserve()
end)
return answers
