-- Asks the stage `echo`, which another node carries, from 64 handlers at once.
local BODY = string.rep("x", 128)
local left, reply

local function length(text) return #text end

stage.waitfor("part", function(times, by)
    for _ = 1, times do
        if by == "handler" then
            stage.ask("echo:echo", BODY)
        else
            stage.ask("echo:nobody", length, BODY)
        end
    end
    left = left - 1
    if left == 0 then stage.signal(reply) end
end)

-- Replies when all are done.
stage.waitfor("all", function(times, by)
    left, reply = 64, _WAITFOR.reply
    for part = 1, 64 do
        stage.signal("asks:part", times // 64 + (part <= times % 64 and 1 or 0), by)
    end
end)

stage.waitfor("ready", function() return stage.ask("echo:echo", BODY) == BODY end)
