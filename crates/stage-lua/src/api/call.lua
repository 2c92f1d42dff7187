-- stage.once and stage.call, made of stage.waitfor and of a handler by its id.
local waitfor, handler = ...
local type, error, select, pack, unpack = type, error, select, table.pack, table.unpack

-- Calls a function with the arguments it was registered with, and then those of the call.
local function with_bound(args, fn, ...)
  local bound, all = select("#", ...), pack(...)
  for i = 1, args.n do all[bound + i] = args[i] end
  return fn(unpack(all, 1, bound + args.n))
end

local replaced = {}

function replaced.once(id, fn, ...)
  if type(fn) ~= "function" then
    error("bad argument #2 to 'once' (function expected, got " .. type(fn) .. ")", 2)
  end
  return waitfor(id, function(...)
    waitfor(id, nil)
    return fn(...)
  end, ...)
end

function replaced.call(what, ...)
  if type(what) == "function" then return what(...) end
  return with_bound(pack(...), handler(what))
end

return replaced
