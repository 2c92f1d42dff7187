-- A value as text: keys in order, each table once on its way down, and bounded in depth, entries and
-- bytes, so that even what goes round in a circle can be shown. No metamethod of a script is called.
local DEPTH, ENTRIES, BYTES = 16, 1000, 65536
local next, rawget, type, tostring = next, rawget, type, tostring
local format, rep = string.format, string.rep
local sort, concat = table.sort, table.concat

local ranks = { number = 1, string = 2, boolean = 3 }

local function before(a, b)
  local x, y = ranks[type(a)] or 4, ranks[type(b)] or 4
  if x ~= y then return x < y end
  if x == 3 then return not a and b end
  return x < 3 and a < b
end

local function scalar(value)
  local kind = type(value)
  if kind == "string" then
    return (format("%q", #value > BYTES and value:sub(1, BYTES) or value):gsub("\\\n", "\\n"))
  end
  if ranks[kind] or value == nil then return tostring(value) end
  return "<" .. kind .. ">"
end

local function name(key)
  if type(key) == "string" and key:find("^[%a_][%w_]*$") then return key end
  return "[" .. scalar(key) .. "]"
end

-- The keys of a table in order, how many of them are a list, and whether there are more.
local function walk(t)
  local keys, more, key = {}, false, next(t)
  while key ~= nil do
    if #keys == ENTRIES then
      more = true
      break
    end
    keys[#keys + 1] = key
    key = next(t, key)
  end
  sort(keys, before)
  local list = 0
  while keys[list + 1] == list + 1 do list = list + 1 end
  return keys, list, more
end

-- The text, on one line if that is asked for.
return function(value, line)
  local out, bytes, around = {}, 0, {}

  local function put(text)
    if bytes > BYTES then return end
    bytes = bytes + #text
    out[#out + 1] = bytes > BYTES and "..." or text
  end

  local function separate(depth, first)
    if not line then
      put((first and "\n" or ",\n") .. rep("  ", depth))
    elseif not first then
      put(", ")
    end
  end

  local function show(value, depth)
    if type(value) ~= "table" then return put(scalar(value)) end
    if around[value] then return put("<a table around this>") end
    if depth == DEPTH then return put("<table>") end
    local keys, list, more = walk(value)
    if #keys == 0 then return put("{}") end
    around[value] = true
    put("{")
    for i = 1, #keys do
      local key = keys[i]
      if bytes > BYTES then return end
      separate(depth + 1, i == 1)
      if i > list then put(name(key) .. " = ") end
      show(rawget(value, key), depth + 1)
    end
    if more then
      separate(depth + 1, false)
      put("...")
    end
    if not line then put("\n" .. rep("  ", depth)) end
    put("}")
    around[value] = nil
  end

  show(value, 0)
  return concat(out)
end
