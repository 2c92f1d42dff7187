local accounts = db.accounts
SESSIONS = {}
_SANDBOX[""] = { "*SESSIONS" }

-- On a worker, one at a time for each user.
local function open_session(user, id, coins)
  if not SESSIONS[user] then __("SESSIONS", user, function() return coins end) end
  stage.signal("clients:done", id)
end

-- Holds a ticket.
stage.waitfor("check", function(user, id)
  local account = accounts:one("SELECT coins FROM accounts WHERE id = $1", user)
  stage.submit(user, open_session, user, id, account.coins)
end)
stage.waitfor("login", function(user, id)
  stage.signal("ticket:login=check", user, id)
end)

stage.waitfor("pay", function(user, id)
  accounts:transaction(function(tx)
    tx:execute("UPDATE accounts SET coins = coins - 1 WHERE id = $1", user)
    tx:query("SELECT pg_sleep(1) AS v")
  end)
  stage.signal("clients:done", id)
end)
stage.waitfor("purchase", function(user, id)
  stage.signal("ticket:purchase=pay", user, id)
end)
