-- The results of the host, or its failure raised: a table with `message`, `kind` and what else is known.
-- The first value says which of both it is.
local error, setmetatable = error, setmetatable

local Failure = {
  __metatable = false,
  __tostring = function(self) return self.message end,
}

return function(ok, ...)
  if ok then return ... end
  local message, kind, sqlstate = ...
  error(setmetatable({ message = message, kind = kind, sqlstate = sqlstate }, Failure), 0)
end
