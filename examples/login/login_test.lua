-- stage-node test examples/login --config examples/login/test.json
local welcomed, refused, paid = {}, {}, {}
local reason --- @type string?
stage.waitfor("welcome", function(user) welcomed[#welcomed + 1] = user end)
stage.waitfor("refused", function(user, _, why) refused[#refused + 1], reason = user, why end)
stage.waitfor("hold", function() sleep(60) end)
stage.waitfor("paid", function(user) paid[#paid + 1] = user end)

-- Waits until something is so, at most a minute of the test's own time.
local function wait_until(is_so)
  for _ = 1, 6000 do
    if is_so() then return end
    sleep(0.01)
  end
  error("it has not come to pass", 2)
end

-- The service may still be making its accounts.
local function ready()
  wait_until(function() return (pcall(stage.ask, "login:online")) end)
end

test("a user of the accounts is welcome and online, another one is refused", function()
  ready()
  stage.signal("login:login", 7, "test", 0)
  stage.signal("login:login", 100000, "test", 0)
  wait_until(function() return #welcomed + #refused == 2 end)
  test.equal(welcomed, { 7 })
  test.equal(refused, { 100000 })
  test.equal(stage.ask("login:online"), 1)
end)

test("two logins of one user are one session", function()
  ready()
  for _ = 1, 2 do stage.signal("login:login", 7, "test", 0) end
  wait_until(function() return #welcomed == 2 end)
  test.equal(stage.ask("login:online"), 1)
end)

-- Waits until a login is refused, and returns why.
local function refusal()
  stage.signal("login:login", 7, "test", 0)
  wait_until(function() return #refused == 1 end)
  test.equal(welcomed, {})
  return reason
end

test("a login without a ticket is refused with the reason", function()
  ready()
  stage.signal("ticket:@login", -1)
  sleep(0.1)
  stage.signal("ticket:login=hold")
  sleep(0.1)
  test.equal(refusal(), "all 1 permits of login are out")
end)

test("a login that finds its user's queue full is refused with the reason", function()
  ready()
  repeat until not stage.submit(7, function() sleep(60) end)
  local why = refusal()
  assert(why and why:find("^queue full"), why)
end)

test("a login that the database fails is refused with the reason", function()
  ready()
  db.accounts:execute("DROP TABLE accounts")
  test.equal(refusal(), "no such table: accounts")
end)

test("purchases wait for each other, two at a time", function()
  ready()
  local begun = stage.clock()
  for user = 1, 4 do stage.signal("login:purchase", user, "test", 0) end
  wait_until(function() return #paid == 4 end)
  assert(stage.clock() - begun >= 2, "two seconds at least")
end)
