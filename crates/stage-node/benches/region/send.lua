-- Sends work to other nodes, open-loop, and counts what came back in time, by the second in which it was to be sent.
local plan = process["$%plan"]
local begin = stage.clock() + plan.start - stage.now()
local sent, good, lost, costs = {}, {}, {}, {}
for second = 1, plan.seconds do
    sent[second], good[second], lost[second], costs[second] = 0, 0, 0, 0
end

-- With rounds, it is the refusal of a script: it is sent once more, as nodes do by themselves with what a node refuses.
stage.waitfor("back", function(planned, rounds, is_second)
    if rounds then
        if not is_second then stage.signal("work:job=back!lost", planned, rounds, true) end
    elseif stage.clock() - begin - planned <= plan.deadline then
        local second = math.floor(planned) + 1
        good[second] = good[second] + 1
    end
end)

local function second_of(now)
    return math.max(1, math.min(plan.seconds, math.floor(now) + 1))
end

stage.waitfor("lost", function()
    local second = second_of(stage.clock() - begin)
    lost[second] = lost[second] + 1
end)

math.randomseed(plan.seed, 2)
local function exponential() return -math.log(1 - math.random()) end

-- What a message costs, in rounds of the loop: exponential, or a few that carry most of the work.
local function cost()
    local factor = plan.heavy and 0.375 * (1 - math.random()) ^ (-1 / 1.6) or exponential()
    return math.floor(plan.rounds * math.min(factor, 50))
end

local function rate_at(at)
    local rate = 0
    for _, step in ipairs(plan.peer) do
        if step.from <= at then rate = step.rate end
    end
    return rate
end

local due = 0
while due < plan.seconds do
    local now = stage.clock() - begin
    while due <= now and due < plan.seconds do
        local rate = rate_at(due)
        if rate > 0 then
            local second = second_of(due)
            sent[second] = sent[second] + 1
            stage.signal("work:job=back!lost", due, cost())
            due = due + math.min(exponential() / rate, 1)
        else
            due = due + 0.05
        end
    end
    costs[second_of(now)] = process["$#route"].baseline_ms
    sleep(0.002)
end
sleep(plan.rest)
print("SENT " .. json.encode({ sent = sent, good = good, lost = lost, costs = costs }))
