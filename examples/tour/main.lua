-- The five means of STAGE, one after the other. Run it from the root of the repository:
--
--   cargo run --release -p stage-node -- run examples/tour/main.lua --for 8s

local function title(text) print("\n== " .. text) end
local function note(text, ...) print("   " .. text:format(...)) end

print("This node is " .. process.node .. ", process " .. process.id .. ".")

----------------------------------------------------------------------------------------------------
title("1. Snapshot: read shared data as one version, never under a lock")

GOLD = { kim = 100, lee = 50 }
_SANDBOX[""] = { "*GOLD" }                 -- from here on GOLD is shared by all VMs of this process

stage.waitfor("audit", function()
  note("the audit starts:      kim has %d, lee has %d", GOLD.kim, GOLD.lee)
  sleep(0.3)                               -- kim pays lee meanwhile, on another core
  note("after its wait, still: kim has %d, lee has %d", GOLD.kim, GOLD.lee)
  stage.snapshot.refresh()
  note("refreshed:             kim has %d, lee has %d", GOLD.kim, GOLD.lee)
end)
stage.signal("audit")
sleep(0.1)                                 -- this script gives its VM away: the audit starts

stage.submit(0, function()
  __("GOLD", function(gold)                -- an atomic update: nobody writes in between
    gold.kim, gold.lee = gold.kim - 30, gold.lee + 30
    return gold
  end)
end)
sleep(0.4)

----------------------------------------------------------------------------------------------------
title("2. Submit: one at a time per key, everything else in parallel")

local function run(text)
  print("   THREAD RUN", text)
  sleep(0.4)
end
stage.submit(1234, run, "HELLO")
stage.submit(0, run, "RUN      (key 0 has no limit: it runs at once)")
stage.submit(1234, run, "WORLD    (waited until HELLO had ended)")
sleep(1)

----------------------------------------------------------------------------------------------------
title("3. Ticket: limit how many run at once, whoever asked for them")

local inside = 0
stage.waitfor("login", function(user)
  inside = inside + 1
  note("%s logs in; %d at once (ticket %s)", user, inside, _TICKET)
  sleep(0.15)                              -- the database takes its time
  inside = inside - 1
end)
for _, user in ipairs { "kim", "lee", "park" } do
  stage.signal("ticket:login=login", user)
end
sleep(0.7)

----------------------------------------------------------------------------------------------------
title("4. Signal: another stage runs the function, only its result comes back")

stage.waitfor("result", function(r)
  print("   RESULT:", r)
end)
stage.signal("stage:callback=result", function(v)
  print("   THREAD RUN", v)                 -- with other nodes in the mesh, it runs on one of them
  return "RESULT:" .. v
end, "HELLO")
sleep(0.3)

----------------------------------------------------------------------------------------------------
title("5. Route: the node knows its own limit")

local function state() return process["$#route"] end
note("a message costs %.2f ms on this machine, so messages may wait %.1f ms",
  state().baseline_ms, state().threshold_ms)

stage.waitfor("route:state", function(old, new, why)
  note("%s -> %s: %s", old, new, why)
end)
stage.waitfor("work", function()
  local till = os.clock() + 0.005          -- 5 ms of pure work
  while os.clock() < till do end
end)
note("now 400 messages of 5 ms each, all at once ...")
for _ = 1, 400 do stage.signal("work") end
sleep(3)
note("now messages wait %.1f ms; the node is %s", state().delay_ms, state().state)
note("A node alone has nobody to hand its load to: it stays, and sheds what others send.")
note("In a mesh it would leave, work on its own queue, and rejoin when it is stable.")
print("\nThat was the tour; docs/ has more. This node stops by itself.")
