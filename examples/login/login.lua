-- The login service. No lock is held while the database works, so no slow transaction holds anybody up.
local USERS = 1000
local accounts = db.accounts

-- Several nodes may begin at once. Then PostgreSQL refuses all but one of these, which had its way by then.
pcall(accounts.execute, accounts,
  "CREATE TABLE IF NOT EXISTS accounts (id BIGINT PRIMARY KEY, name TEXT NOT NULL, coins BIGINT NOT NULL)")
if not accounts:one("SELECT id FROM accounts LIMIT 1") then
  accounts:transaction(function(tx)
    for id = 1, USERS do
      tx:execute("INSERT INTO accounts VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", id, "user" .. id, 1000)
    end
  end)
end

-- Who is logged in: a snapshot, which every handler of every VM reads without waiting for anybody.
SESSIONS = {}
_SANDBOX[""] = { "*SESSIONS" }

local function refuse(user, client, sent, why)
  stage.signal(client .. ":refused", user, sent, tostring(why))
end

-- Runs on a worker, one at a time for each user: two logins of one user come one after the other.
local function open_session(user, name, client, sent)
  local ok, why = true, nil
  if not SESSIONS[user] then
    ok, why = pcall(function() __("SESSIONS", user, function() return name end) end)
  end
  if not ok then return refuse(user, client, sent, why) end
  stage.signal(client .. ":welcome", user, sent)
end

local function check(user, client, sent)
  local account = accounts:one("SELECT name FROM accounts WHERE id = $1", user)
  if not account then error("no such user", 0) end
  local queued, why = stage.submit(user, open_session, user, account.name, client, sent)
  if not queued then error(why, 0) end
end

-- Holds a ticket: this many ask the database at once, in the whole service, and the others queue in order.
-- Whatever goes wrong, the client hears of it.
stage.waitfor("check", function(user, client, sent)
  local ok, why = pcall(check, user, client, sent)
  if not ok then refuse(user, client, sent, why) end
end)

stage.waitfor("login", function(user, client, sent)
  local told --- @type string
  told = stage.waitfor(function(granted, why)
    stage.waitfor(told, nil)
    if not granted then refuse(user, client, sent, why) end
  end)
  stage.signal("ticket:login=check?" .. told, user, client, sent)
end)

-- A transaction that takes a second. It has a ticket of a category of its own, and so never more than its
-- share of the connections; nobody but its own user waits for it.
stage.waitfor("pay", function(user, client, sent)
  accounts:transaction(function(tx)
    tx:execute("UPDATE accounts SET coins = coins - 1 WHERE id = $1", user)
    sleep(1) -- a bank that takes its time
  end)
  stage.signal(client .. ":paid", user, sent)
end)

stage.waitfor("purchase", function(user, client, sent)
  stage.signal("ticket:purchase=pay", user, client, sent)
end)

stage.waitfor("online", function()
  local n = 0
  for _ in pairs(SESSIONS) do n = n + 1 end
  return n
end)
