-- Functions of Lua's library whose loops in C could go on for very long, and nothing interrupts those.
--
-- Where a call is soon done whatever its arguments are, it is Lua's own. Patterns beyond that are matched in portions by
-- the host. Tables whose metatable says how long they are, and long ranges, are walked here.
local patterns, most = ...
local harmless_length, is_plain, begin, go_on, find_plain =
  patterns.harmless_length, patterns.is_plain, patterns.begin, patterns.go_on, patterns.find_plain
local type, error, select, tostring, getmetatable = type, error, select, tostring, getmetatable
local find, match, gmatch, gsub, rep, sub, byte =
  string.find, string.match, string.gmatch, string.gsub, string.rep, string.sub, string.byte
local insert, remove, move, concat, sort, unpack =
  table.insert, table.remove, table.move, table.concat, table.sort, table.unpack
local to_integer, max_integer = math.tointeger, math.maxinteger

-- What is known of patterns: with `^` as an anchor, and for gmatch as any other character.
local anchored, unanchored = {}, {}
local known = 0
local KNOWN, KNOWN_BYTES = 1000, 256

local function length_of(p, lengths, anchors)
  local length = lengths[p]
  if length then return length end
  length = harmless_length(p, anchors)
  if #p <= KNOWN_BYTES then
    if known >= KNOWN then
      anchored, unanchored, known = {}, {}, 0
      lengths = anchors and anchored or unanchored
    end
    lengths[p], known = length, known + 1
  end
  return length
end

local function is_long(s, p, lengths, anchors)
  return type(s) == "string" and type(p) == "string" and #s > length_of(p, lengths, anchors)
end

-- Where a search begins, as Lua counts it; nil behind the end.
local function start_of(s, init)
  local from = init == nil and 1 or to_integer(init)
  if not from then
    find("", "", init) -- raises what is wrong
    from = to_integer(tostring(init) + 0)
  end
  if from < 0 then from = #s + from + 1 end
  if from < 1 then from = 1 end
  if from <= #s + 1 then return from end
end

-- From, to and captures of the first match; nil if there is none.
local function found(first, ...)
  if type(first) == "userdata" then return found(go_on(first)) end
  return first, ...
end

local function texts(s, from, to, ...)
  if not from then return nil end
  if select("#", ...) == 0 then return sub(s, from, to) end
  return ...
end

local string, table = {}, {}

-- Each of these first sees whether the pattern is known and the text short enough for Lua's own.

local function find_long(s, p, init, plain)
  if type(p) == "number" then p = tostring(p) end
  if type(s) == "string" and type(p) == "string" and (plain or #p > most.pattern and is_plain(p)) then
    if #s * #p <= most.compared then return find(s, p, init, true) end
    local from = start_of(s, init)
    if not from then return nil end
    return find_plain(s, p, from)
  end
  if not is_long(s, p, anchored, true) then return find(s, p, init, plain) end
  local from = start_of(s, init)
  if not from then return nil end
  if is_plain(p) then return find_plain(s, p, from) end
  return found(begin(s, p, from, true))
end

function string.find(s, p, init, plain)
  local length = not plain and anchored[p]
  if length and type(s) == "string" and #s <= length then return find(s, p, init, plain) end
  return find_long(s, p, init, plain)
end

local function match_long(s, p, init)
  if not is_long(s, p, anchored, true) then return match(s, p, init) end
  local from = start_of(s, init)
  if not from then return nil end
  return texts(s, found(begin(s, p, from, true)))
end

function string.match(s, p, init)
  local length = anchored[p]
  if length and type(s) == "string" and #s <= length then return match(s, p, init) end
  return match_long(s, p, init)
end

function string.gmatch(s, p, init)
  if not is_long(s, p, unanchored, false) then return gmatch(s, p, init) end
  local from, barred = start_of(s, init), nil
  local function step(first, last, ...)
    if not first then
      from = nil
      return nil
    end
    from, barred = last + 1, last
    return texts(s, first, last, ...)
  end
  return function()
    if from then return step(found(begin(s, p, from, false, barred))) end
  end
end

-- What a replacement string stands for.
local function expanded(template, whole, ...)
  if not find(template, "%", 1, true) then return template end
  local captures, count = { ... }, select("#", ...)
  return (gsub(template, "%%(.?)", function(what)
    if what == "%" then return "%" end
    if what == "0" or what == "1" and count == 0 then return whole end
    if not find(what, "^%d$") then
      error("invalid use of '%' in replacement string", 0)
    end
    local capture = captures[what + 0]
    if not capture then error("invalid capture index %" .. what .. " in replacement string", 0) end
    return tostring(capture)
  end))
end

local function replacement(kind, new, whole, ...)
  local value
  if kind == "string" then return expanded(new, whole, ...) end
  local first = select("#", ...) == 0 and whole or (...)
  if kind == "table" then
    value = new[first]
  elseif select("#", ...) == 0 then
    value = new(whole)
  else
    value = new(...)
  end
  if not value then return whole end
  local of = type(value)
  if of ~= "string" and of ~= "number" then
    error("invalid replacement value (a " .. of .. ")", 0)
  end
  return tostring(value)
end

local function gsub_long(s, p, new, most_times)
  if not is_long(s, p, anchored, true) then return gsub(s, p, new, most_times) end
  if type(new) == "number" then new = tostring(new) end
  local kind = type(new)
  if kind ~= "string" and kind ~= "table" and kind ~= "function" then return gsub(s, p, new) end
  if most_times ~= nil then gsub("", "", "", most_times) end -- raises what is wrong
  local times = most_times == nil and #s + 1 or most_times + 0
  local out, count, at, barred = {}, 0, 1, nil
  local function step(from, to, ...)
    if not from then return false end
    if from > at then out[#out + 1] = sub(s, at, from - 1) end
    out[#out + 1] = replacement(kind, new, sub(s, from, to), ...)
    count, at, barred = count + 1, to + 1, to
    return true
  end
  local is_anchored = byte(p) == 94
  while count < times and step(found(begin(s, p, at, true, barred))) do
    if is_anchored then break end
  end
  out[#out + 1] = sub(s, at)
  return concat(out), count
end

function string.gsub(s, p, new, most_times)
  local length = anchored[p]
  if length and type(s) == "string" and #s <= length then return gsub(s, p, new, most_times) end
  return gsub_long(s, p, new, most_times)
end

function string.rep(s, n, sep)
  if sep == nil and type(n) == "number" and type(s) == "string" and s ~= "" and n * #s <= most.bytes then
    return rep(s, n)
  end
  if type(s) == "number" then s = tostring(s) end
  if type(sep) == "number" then sep = tostring(sep) end
  local times = to_integer(n)
  if type(s) == "string" and times and times > 0 and (sep == nil or type(sep) == "string") then
    local length = #s + (sep and #sep or 0)
    if length == 0 then return "" end
    if times > most.bytes // length then
      error("resulting string too large: at most " .. most.bytes .. " bytes", 2)
    end
  end
  return rep(s, n, sep)
end

-- A table without a metatable is as long as it is; of any other its metatable may say what it likes.
local function is_own(t)
  return getmetatable(t) == nil or type(t) ~= "table"
end

function table.insert(t, ...)
  if getmetatable(t) == nil or is_own(t) or select("#", ...) ~= 2 then return insert(t, ...) end
  local pos, value = ...
  local last, at = #t + 1, to_integer(pos)
  if not at then return insert({}, pos, value) end -- raises what is wrong
  if at < 1 or at > last then
    error("bad argument #2 to 'insert' (position out of bounds)", 2)
  end
  for i = last, at + 1, -1 do t[i] = t[i - 1] end
  t[at] = value
end

function table.remove(t, ...)
  if getmetatable(t) == nil or is_own(t) or select("#", ...) == 0 then return remove(t, ...) end
  local size, pos = #t, (...)
  local at = pos == nil and size or to_integer(pos)
  if not at then return remove({}, pos) end -- raises what is wrong
  if at ~= size and (at < 1 or at > size + 1) then
    error("bad argument #2 to 'remove' (position out of bounds)", 2)
  end
  local value = t[at]
  for i = at, size - 1 do t[i] = t[i + 1] end
  if at < size then at = size end
  t[at] = nil
  return value
end

function table.move(from, first, last, to, other)
  local target = other == nil and from or other
  local f, e, t = to_integer(first), to_integer(last), to_integer(to)
  local is_short = not (f and e and t) or e < f or (e - f >= 0 and e - f < most.items)
  local is_plain_table = is_own(from) and is_own(target)
  if is_short and is_plain_table or type(from) ~= "table" or type(target) ~= "table" then
    return move(from, first, last, to, other)
  end
  if not (f and e and t) then return move(from, first, last, to, other) end
  if e < f then return target end
  if not (f > 0 or e < max_integer + f) then
    error("bad argument #3 to 'move' (too many elements to move)", 2)
  end
  if t > max_integer - (e - f + 1) + 1 then
    error("bad argument #4 to 'move' (destination wrap around)", 2)
  end
  if t > e or t <= f or target ~= from then
    for i = 0, e - f do target[t + i] = from[f + i] end
  else
    for i = e - f, 0, -1 do target[t + i] = from[f + i] end
  end
  return target
end

function table.concat(t, sep, first, last)
  if getmetatable(t) == nil or is_own(t) then return concat(t, sep, first, last) end
  local f = first == nil and 1 or to_integer(first)
  local l = last == nil and #t or to_integer(last)
  if not f or not l then return concat({}, sep, first, last) end
  local copy, count = {}, 0
  for i = f, l do
    local value = t[i]
    if type(value) ~= "string" and type(value) ~= "number" then
      error("invalid value (" .. type(value) .. ") at index " .. i .. " in table for 'concat'", 2)
    end
    count = count + 1
    copy[count] = value
  end
  return concat(copy, sep)
end

-- Each value of such a table may be looked for in a long row of others.
function table.unpack(t, first, last)
  if getmetatable(t) == nil or is_own(t) then return unpack(t, first, last) end
  local f = first == nil and 1 or to_integer(first)
  local l = last == nil and #t or to_integer(last)
  if not f or not l then return unpack({}, first, last) end -- raises what is wrong
  if l < f then return end
  if l - f < 0 or l - f >= most.values then return unpack({}, f, l) end -- raises that they are too many
  local copy = {}
  for i = f, l do copy[i - f + 1] = t[i] end
  return unpack(copy, 1, l - f + 1)
end

-- Whether to compare the strings of a table with each other may take long.
local function has_long_strings(t, count)
  local longest = 0
  for i = 1, count do
    local value = t[i]
    if type(value) == "string" and #value > longest then longest = #value end
  end
  return longest * count > most.compared
end

local function less(a, b) return a < b end

function table.sort(t, before)
  if type(t) ~= "table" or before ~= nil and type(before) ~= "function" then return sort(t, before) end
  if is_own(t) and #t < most.items and (before or not has_long_strings(t, #t)) then
    return sort(t, before)
  end
  -- A comparison in Lua, so that the whole can be ended.
  if before == nil then return sort(t, less) end
  return sort(t, function(a, b) return before(a, b) end)
end

return { string = string, table = table }
