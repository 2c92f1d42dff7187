-- A stage of one VM, whose handlers compute. Its local load comes from here, open-loop: by the clock, not by what is done.
local plan = process["$%plan"]
local begin = stage.clock() + plan.start - stage.now()
local took = {}

-- How many rounds were done, by the second in which their message ended.
local rounds_done = {}
for second = 1, plan.seconds do rounds_done[second] = 0 end

local function spin(rounds)
    local sum = 0
    for n = 1, rounds do sum = sum + n % 7 end
    local second = math.floor(stage.clock() - begin) + 1
    if rounds_done[second] then rounds_done[second] = rounds_done[second] + rounds end
    return sum
end

local function done(planned) took[#took + 1] = { planned, stage.clock() - begin - planned } end

local own = "own!lost"
if plan.rival then
    own = "own=served!lost"
    stage.require("rival")(plan, spin, done)
else
    stage.waitfor("job", function(planned, rounds)
        spin(rounds)
        return planned
    end)
    stage.waitfor("own", function(planned, rounds)
        spin(rounds)
        done(planned)
    end)
end

stage.waitfor("lost", function() end)

math.randomseed(plan.seed, 1)
local function exponential() return -math.log(1 - math.random()) end

-- What a message costs, in rounds of the loop: exponential, or a few that carry most of the work.
local function cost()
    local factor = plan.heavy and 0.375 * (1 - math.random()) ^ (-1 / 1.6) or exponential()
    return math.floor(plan.rounds * math.min(factor, 50))
end

local function rate_at(at)
    local rate = 0
    for _, step in ipairs(plan.own) do
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
            for _ = 1, plan.burst do
                stage.signal(own, due, cost())
            end
            due = due + math.min(exponential() * plan.burst / rate, 1)
        else
            due = due + 0.05
        end
    end
    if plan.whale and now >= plan.whale then
        plan.whale = nil
        stage.signal(own, now, plan.rounds * 50)
    end
    sleep(0.004)
end
-- What waits still is waited for.
sleep(plan.rest)
print("OWN " .. json.encode({ took = took, rounds = rounds_done }))
