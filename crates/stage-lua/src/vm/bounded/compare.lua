-- Runs each call with Lua's own functions and with those of the host, however short the text is.
local patterns, chunk, s, p, new, init = ...
local own = {
  find = string.find, match = string.match, gmatch = string.gmatch, gsub = string.gsub,
  rep = string.rep, sort = table.sort, concat = table.concat,
}
patterns.harmless_length = function() return -1 end
local replaced = load(chunk)(patterns, { bytes = 1000, items = 3, compared = -1, values = 5, pattern = 1000 }).string
local function text(...)
  local all = { select("#", ...), ... }
  for i = 1, select("#", ...) + 1 do all[i] = tostring(all[i]) end
  return own.concat(all, "|")
end
local function walked(gmatch)
  local all = {}
  for a, b in gmatch(s, p, init) do all[#all + 1] = text(a, b) end
  return own.concat(all, ";")
end
local function both(name, ...)
  local expected, got = text(pcall(own[name], ...)), text(pcall(replaced[name], ...))
  -- Errors name different places.
  local fail = expected:sub(3, 7) == "false" and got:sub(3, 7) == "false"
  if expected ~= got and not fail then
    error(name .. ": " .. expected .. " and not " .. got)
  end
end
-- In C a malformed pattern is an error only where matching comes to that place.
if not pcall(patterns.begin, "", p, 1, true) then return end
both("find", s, p, init)
both("find", s, p, init, true)
both("match", s, p, init)
both("gsub", s, p, new)
both("gsub", s, p, new, 2)
both("gsub", s, p, { a = "x", ab = 7, b = false })
both("gsub", s, p, function(a, b) return b or a == "b" and "<b>" end)
local ok, expected = pcall(walked, own.gmatch)
if ok ~= pcall(walked, replaced.gmatch) or ok and walked(replaced.gmatch) ~= expected then
  error("gmatch: " .. expected)
end
