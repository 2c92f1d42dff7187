-- stage-node test examples/login --config examples/login/test.json
local welcomed, refused, paid = {}, {}, {}
stage.waitfor("welcome", function(user) welcomed[#welcomed + 1] = user end)
stage.waitfor("refused", function(user) refused[#refused + 1] = user end)
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

test("purchases wait for each other, two at a time", function()
  ready()
  local begun = stage.clock()
  for user = 1, 4 do stage.signal("login:purchase", user, "test", 0) end
  wait_until(function() return #paid == 4 end)
  assert(stage.clock() - begun >= 2, "two seconds at least")
end)
