-- `db`: the databases of `#db`. The host runs statements; what they mean to a script is made here.
local host, db, names, given = ...
local error, pcall, tostring, type = error, pcall, tostring, type
local pack, unpack = table.pack, table.unpack

-- What a method works on: a pool by its name, a transaction by its handle.
local function of(self, method)
  local target = type(self) == "table" and (self.handle or self.name)
  if target then return target end
  error("call '" .. method .. "' with a colon: pool:" .. method .. "(...)", 3)
end

local methods = {}

-- All rows, as a list of tables by column.
function methods.query(self, sql, ...)
  return given(host.query(of(self, "query"), sql, ...))
end

-- The first row, or nil.
function methods.one(self, sql, ...)
  return given(host.query(of(self, "one"), sql, ...))[1]
end

-- The number of rows that were changed, and the id of the last one where the database tells.
function methods.execute(self, sql, ...)
  return given(host.execute(of(self, "execute"), sql, ...))
end

-- An iterator over the rows of a result of any size.
local function rows(self, sql, ...)
  local stream = given(host.stream(of(self, "rows"), sql, ...))
  return function() return given(host.next(stream)) end
end

-- Runs `fn(tx, ...)`: what it did takes effect when it returns, and not at all if it raises.
local function transaction(self, fn, ...)
  local name = of(self, "transaction")
  if type(fn) ~= "function" then
    error("bad argument #1 to 'transaction' (function expected, got " .. type(fn) .. ")", 2)
  end
  local tx = { handle = given(host.begin(name)) }
  for method, body in pairs(methods) do tx[method] = body end
  local results = pack(pcall(fn, tx, ...))
  if results[1] then
    given(host.commit(tx.handle))
    return unpack(results, 2, results.n)
  end
  host.roll_back(tx.handle)
  error(results[2], 0)
end

for _, name in ipairs(names) do
  local pool = { name = name, rows = rows, transaction = transaction }
  for method, body in pairs(methods) do pool[method] = body end
  db[name] = pool
end

-- The database of that name; `db.open{ "name" }` is the same.
function db.open(name)
  if type(name) == "table" then name = name[1] or name.name end
  for _, known in ipairs(names) do
    if known == name then return db[name] end
  end
  local list = #names > 0 and table.concat(names, ", ") or "none"
  error("no database '" .. tostring(name) .. "' in #db of stage.json, which has: " .. list, 2)
end
