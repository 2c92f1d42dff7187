-- test(name, fn): a test of scripts. test.equal(actual, expected): raises an error that shows both.
local register, dump = ...
local type, error, rawequal, pairs, setmetatable, select =
  type, error, rawequal, pairs, setmetatable, select

local function equal(a, b)
  if rawequal(a, b) or a == b then return true end
  if type(a) ~= "table" or type(b) ~= "table" then return false end
  for key, value in pairs(a) do
    if not equal(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

local test = {}

function test.equal(actual, ...)
  if select("#", ...) == 0 then error("test.equal takes the actual value and the expected one", 2) end
  local expected = (...)
  if not equal(actual, expected) then
    error("expected " .. dump(expected) .. "\ngot      " .. dump(actual), 2)
  end
end

return setmetatable(test, {
  __call = function(_, name, fn)
    if type(name) ~= "string" then
      error("bad argument #1 to 'test' (name expected, got " .. type(name) .. ")", 2)
    elseif type(fn) ~= "function" then
      error("bad argument #2 to 'test' (function expected, got " .. type(fn) .. ")", 2)
    end
    register(name, fn)
  end,
})
