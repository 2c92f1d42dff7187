-- Two things that mlua leaves to its host.
--
-- Errors that the host raises are objects of the host: scripts that catch one get its text, with
-- file and line, as they do from Lua's own functions.
--
-- A host function that waits, such as sleep, yields a mark to whoever resumed its coroutine. If that
-- is a script and not the host, the mark is passed on until the host has it, and the coroutine is
-- resumed when the host comes back.
local text, mark = ...
local pcall, xpcall, error, type, rawequal = pcall, xpcall, error, type, rawequal
local create, resume, yield = coroutine.create, coroutine.resume, coroutine.yield

local function caught(ok, ...)
  if ok then return ok, ... end
  return ok, text((...))
end

local function relay(co, ok, ...)
  if ok and rawequal((...), mark) then
    yield(mark)
    return relay(co, resume(co))
  end
  return caught(ok, ...)
end

local function unwrap(ok, ...)
  if ok then return ... end
  error((...), 0)
end

local protected = { coroutine = {} }

function protected.pcall(...)
  return caught(pcall(...))
end

function protected.xpcall(f, handler, ...)
  if type(handler) ~= "function" then return xpcall(f, handler, ...) end
  return xpcall(f, function(e) return handler(text(e)) end, ...)
end

function protected.coroutine.resume(co, ...)
  return relay(co, resume(co, ...))
end

function protected.coroutine.wrap(f)
  local co = create(f)
  return function(...) return unwrap(relay(co, resume(co, ...))) end
end

return protected
