-- What scripts get in place of some of Lua's own functions.
--
-- Errors that the host raises are objects of the host: scripts that catch one get its text, with
-- file and line, as they do from Lua's own functions.
--
-- A host function that waits, such as sleep, yields a mark to whoever resumed its coroutine. If that
-- is a script and not the host, the mark is passed on until the host has it, and the coroutine is
-- resumed when the host comes back.
--
-- A handler that computes for too long is preempted: the hook yields nothing out of the coroutine that
-- runs. That is passed on to the host in the same way, level by level. The host has to know which coroutine
-- runs, so enter and leave stand around each resume.
--
-- A view of a shared table is empty itself: next, rawget and rawlen look behind it.
--
-- A table that is raised as an error and caught by nobody ends up in the log, which has no use for its
-- address: the last one raised is kept for the host to show.
--
-- A finalizer could call into a VM that is being closed, and nothing could stop an endless one: __gc
-- is refused.
local text, mark, views, view_next, track, raised = ...
local enter, leave, preempted, over = track.enter, track.leave, track.preempted, track.over
local pcall, xpcall, error, type = pcall, xpcall, error, type
local rawequal, rawset, next = rawequal, rawset, next
local rawget, rawlen, setmetatable, select = rawget, rawlen, setmetatable, select
local create, resume, yield, close, status =
  coroutine.create, coroutine.resume, coroutine.yield, coroutine.close, coroutine.status

-- Coroutines whose wait goes on in the host.
local waiting = setmetatable({}, { __mode = "k" })
-- Coroutines that an error has ended, other than the one that ends a handler for good: nothing would stop what one that
-- this has ended closes.
local failed = setmetatable({}, { __mode = "k" })

local function caught(ok, ...)
  if ok then return ok, ... end
  return ok, text((...))
end

local function relay(co, ok, ...)
  leave()
  local waits = ok and rawequal((...), mark)
  if waits or ok and select("#", ...) == 0 and preempted() then
    waiting[co] = true
    if waits then yield(mark) else yield() end
    enter(co)
    return relay(co, resume(co))
  end
  waiting[co] = nil
  if not ok then failed[co] = true end
  return caught(ok, ...)
end

local function unwrap(ok, ...)
  if ok then return ... end
  error((...), 0)
end

local replaced = { base = {}, coroutine = {} }

function replaced.base.pcall(...)
  return caught(pcall(...))
end

function replaced.base.xpcall(f, handler, ...)
  if type(handler) ~= "function" then return xpcall(f, handler, ...) end
  return xpcall(f, function(e)
    -- What ends a handler for good comes out of a hook, and within that there are no hooks: nothing would
    -- stop an endless message handler.
    if over() then return text(e) end
    return handler(text(e))
  end, ...)
end

local function start(co, ...)
  if waiting[co] then return false, "cannot resume non-suspended coroutine" end
  if type(co) == "thread" then enter(co) else return resume(co) end
  return relay(co, resume(co, ...))
end

function replaced.coroutine.resume(co, ...)
  return start(co, ...)
end

local function closed(...)
  leave()
  return caught(...)
end

-- What it closes runs in the coroutine itself.
function replaced.coroutine.close(co)
  local is = type(co) == "thread" and status(co)
  if is == "dead" and not failed[co] then return true end
  if is ~= "dead" and is ~= "suspended" then return close(co) end
  failed[co] = nil
  enter(co)
  return closed(close(co))
end

function replaced.coroutine.wrap(f)
  local co = create(f)
  return function(...) return unwrap(start(co, ...)) end
end

function replaced.base.setmetatable(t, metatable)
  if type(metatable) == "table" and rawget(metatable, "__gc") ~= nil then
    error("__gc is not available: release what you hold at the end of the handler", 2)
  end
  return setmetatable(t, metatable)
end

function replaced.base.next(t, key)
  if views[t] then return view_next(t, key) end
  return next(t, key)
end

function replaced.base.rawget(t, key)
  if views[t] then return t[key] end
  return rawget(t, key)
end

function replaced.base.rawlen(t)
  if views[t] then return #t end
  return rawlen(t)
end

-- The place that it names is one level further up than without this function.
function replaced.base.error(value, level)
  if type(value) == "table" then raised.value = value end
  if level == nil then return error(value, 2) end
  if type(level) ~= "number" or level < 1 then return error(value, level) end
  return error(value, level + 1)
end

function replaced.base.rawset(t, key, value)
  if views[t] then t[key] = value end -- raises: a view refuses writes
  return rawset(t, key, value)
end

return replaced
