-- What a script can do about overload by itself: a queue of its own before what computes, and a rival who says what comes in
-- and what is started. Their constants are those of the simulator, which names their authors.
local WINDOW_MS = 100

local function always() return true end

local function nothing() end

local rivals = {}

-- Takes nothing of others while the smoothed wait is over the threshold, until it is under half of that.
function rivals.ewma(threshold)
    local wait, is_out = 0, false
    local function window(mean_wait)
        wait = wait + (mean_wait - wait) * 0.3
        local was_out = is_out
        is_out = wait > threshold * (was_out and 0.5 or 1)
        if is_out and not was_out then print("route from=joined to=isolated") end
        if was_out and not is_out then print("route from=isolated to=joined") end
    end
    return { admits = function() return not is_out end, window = window }
end

function rivals.dagor()
    local share, fraction = 1, 0
    local function admits()
        fraction = fraction + share
        local is_whole = fraction >= 1
        if is_whole then fraction = fraction - 1 end
        return is_whole
    end
    local function window(mean_wait)
        share = mean_wait > 0.02 and share * 0.95 or math.min(share + 0.01, 1)
    end
    return { admits = admits, window = window }
end

function rivals.codel()
    local INTERVAL, since = 0.1, nil
    local function starts(now, waited)
        if waited < 0.005 then
            since = nil
            return true
        end
        since = since or now
        return now - since <= INTERVAL and waited < INTERVAL
    end
    return { starts = starts }
end

function rivals.gradient2()
    local limit, long = 20, nil
    local function finished(latency, inside)
        long = long or latency
        long = long + (latency - long) * 2 / 601
        if long / latency > 2 then long = long * 0.95 end
        if inside < limit / 2 then return end
        local gradient = math.max(0.5, math.min(1, 1.5 * long / latency))
        limit = math.max(4, math.min(200, limit * 0.8 + (limit * gradient + 4) * 0.2))
    end
    return { admits = function(inside) return inside < limit end, finished = finished }
end

-- Handles `job` and `own`. `spin` computes a message, `done` hears of each local one that was. What waits here counts in the
-- node's load, since whoever sent it waits for its reply.
return function(plan, spin, done)
    local rival = rivals[plan.rival](plan.threshold)
    local admits, starts = rival.admits or always, rival.starts or always
    local finished, window = rival.finished or nothing, rival.window or nothing
    local queue, first, last, is_serving = {}, 1, 0, false
    local waits, started = 0, 0

    local function enqueue(message)
        message.queued = stage.clock()
        last = last + 1
        queue[last] = message
        if not is_serving then
            is_serving = true
            stage.signal("serve")
        end
    end

    -- One message, then whatever has come meanwhile, then the next.
    stage.waitfor("serve", function()
        local message = queue[first]
        queue[first], first = nil, first + 1
        local now = stage.clock()
        local waited = now - message.queued
        waits, started = waits + waited, started + 1
        if not message.is_own and not starts(now, waited) then
            stage.signal(message.reply, message.planned, message.rounds, message.again)
        else
            spin(message.rounds)
            finished(stage.clock() - message.queued, last - first + 1)
            if message.is_own then done(message.planned) end
            stage.signal(message.reply, message.planned)
        end
        is_serving = first <= last
        if is_serving then stage.signal("serve") end
    end)

    stage.waitfor("job", function(planned, rounds, again)
        if not admits(last - first + 1) then return planned, rounds, again end
        enqueue({ planned = planned, rounds = rounds, again = again, reply = _WAITFOR.reply })
    end)

    stage.waitfor("own", function(planned, rounds)
        enqueue({ planned = planned, rounds = rounds, is_own = true, reply = _WAITFOR.reply })
    end)

    stage.waitfor("served", nothing)

    stage.addtask(WINDOW_MS, function()
        local head = queue[first]
        local age = head and stage.clock() - head.queued or 0
        window(started > 0 and waits / started or age)
        waits, started = 0, 0
        return WINDOW_MS
    end)
end
