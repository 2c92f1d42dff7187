-- Users who log in, so many a second whether or not the earlier ones are done, while others run a transaction
-- that takes a second. Shows how long the logins took, second by second, each from the moment at which it was to come.
local plan = process["$%clients"] or {}
local SECONDS, RATE, USERS = plan.seconds or 10, plan.rate or 200, plan.users or 1000
local BARS = { { 1, "   up to 1 ms" }, { 5, "   up to 5 ms" }, { 20, "  up to 20 ms" }, { 100, " up to 100 ms" },
  { 1000, "   up to 1 s " }, { math.huge, "       longer" } }

local sent, refused, paid, paying = 0, 0, 0, 0
local all, second = {}, {}

stage.waitfor("welcome", function(_, at)
  local ms = (stage.clock() - at) * 1000
  all[#all + 1], second[#second + 1] = ms, ms
end)
stage.waitfor("refused", function() refused = refused + 1 end)
stage.waitfor("paid", function() paid, paying = paid + 1, paying - 1 end)

local function percentile(sorted, share)
  return sorted[math.max(1, math.ceil(#sorted * share))] or 0
end

local function report(list)
  table.sort(list)
  return ("p50 %6.1f ms   p99 %6.1f ms   slowest %6.1f ms"):format(
    percentile(list, 0.5), percentile(list, 0.99), list[#list] or 0)
end

local function histogram(list)
  local counts = {}
  for i in ipairs(BARS) do counts[i] = 0 end
  for _, ms in ipairs(list) do
    for i, bar in ipairs(BARS) do
      if ms <= bar[1] then counts[i] = counts[i] + 1 break end
    end
  end
  for i, bar in ipairs(BARS) do
    local share = #list > 0 and counts[i] / #list or 0
    print(("%s  %-50s %5d"):format(bar[2], ("#"):rep(math.ceil(share * 50)), counts[i]))
  end
end

while not pcall(stage.ask, "login:online") do sleep(0.05) end -- it may still make its accounts
print(("%d logins a second; each second somebody begins a transaction that takes a second"):format(RATE))
local start = stage.clock()
for tick = 1, SECONDS do
  stage.signal("login:purchase", math.random(USERS), "clients", stage.clock())
  paying = paying + 1
  for _ = 1, RATE do
    local due = start + sent / RATE
    sleep(math.max(0, due - stage.clock()))
    sent = sent + 1
    stage.signal("login:login", math.random(USERS), "clients", due)
  end
  print(("%3d s  %4d logins   %s   %d in the slow transaction"):format(tick, #second, report(second), paying))
  second = {}
end
-- Logins of a user whose transaction goes on still are in its queue.
local patience = stage.clock() + 10
while #all + refused < sent and stage.clock() < patience do sleep(0.05) end
print(("\n%d logins, %d refused, %d users online, %d slow transactions done"):format(
  #all, refused, stage.ask("login:online"), paid))
print(report(all))
histogram(all)
