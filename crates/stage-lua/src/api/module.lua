-- stage.require and stage.load: what a script is made of beside its own file.
--
-- A module's chunk runs once for each version of its file, and its value is what it returns.
local compile, complain, running = ...
local pcall, error, type = pcall, error, type

local required, loaded, hears = {}, {}, {}
-- What there was before the script was begun anew.
local before
-- The coroutine that runs a module's chunk, by the module's name.
local runs = {}

local function run(name, part, fallback)
  local chunk = compile(name, part, fallback)
  if not chunk then return end
  local co = running()
  if runs[name] == co then
    error("module '" .. name .. "' requires itself, by itself or over others", 0)
  end
  runs[name] = co
  local ok, value = pcall(chunk, name)
  runs[name] = nil
  if not ok then error(value, 0) end
  if value == nil then value = true end
  return value
end

-- The module, or its older copy from the folder for that while the module itself fails.
local function load(name)
  local ok, value = pcall(run, name, false, false)
  if ok then return value end
  local saved, older = pcall(run, name, false, true)
  if not saved then error(value .. "\nand what stage.load falls back on: " .. older, 0) end
  if older == nil then error(value, 0) end
  complain(name, value)
  return older
end

local function check(call, name, fn)
  if type(name) ~= "string" then
    error("bad argument #1 to '" .. call .. "' (name of a module expected, got " .. type(name) .. ")", 3)
  end
  if fn ~= nil and type(fn) ~= "function" then
    error("bad argument #2 to '" .. call .. "' (function expected, got " .. type(fn) .. ")", 3)
  end
end

local stage, control = {}, {}

function stage.require(name, fn)
  check("require", name, fn)
  local value = required[name]
  if value == nil then
    value = run(name, true, false)
    required[name] = value
  end
  if fn then fn(value) end
  return value
end

function stage.load(name, fn)
  check("load", name, fn)
  local value = loaded[name]
  if value == nil then
    value = load(name)
    loaded[name] = value
  end
  if fn then
    hears[name] = fn
    fn(value)
  end
  return value
end

-- Runs a module again whose file has changed.
function control.again(name)
  local old = loaded[name]
  if old == nil then return end
  local value = run(name, false, false)
  loaded[name] = value
  local hear = hears[name]
  if hear then hear(value, old) end
end

-- The script is begun anew: it loads its modules anew as well.
function control.begin()
  before = { required, loaded, hears }
  required, loaded, hears = {}, {}, {}
end

function control.keep()
  before = nil
end

-- The script does not start: what was there before goes on.
function control.back()
  required, loaded, hears = before[1], before[2], before[3]
  before = nil
end

return stage, control
