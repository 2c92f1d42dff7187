-- Errors that the host raises are objects of the host. Scripts that catch one get its text, with
-- file and line, as they do from Lua's own functions.
local text, pcall, xpcall, resume, type = ..., pcall, xpcall, coroutine.resume, type

local function caught(ok, ...)
  if ok then return ok, ... end
  return ok, text((...))
end

local protected = {}

function protected.pcall(...)
  return caught(pcall(...))
end

function protected.xpcall(f, handler, ...)
  if type(handler) ~= "function" then return xpcall(f, handler, ...) end
  return xpcall(f, function(e) return handler(text(e)) end, ...)
end

function protected.resume(...)
  return caught(resume(...))
end

return protected
