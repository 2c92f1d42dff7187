-- Prints how many rounds of a loop the processor does in a millisecond, as a rule and not at best.
local function spin(rounds)
    local sum = 0
    for n = 1, rounds do sum = sum + n % 7 end
    return sum
end

local took = {}
for n = 1, 400 do
    local begun = os.clock()
    spin(200000)
    took[n] = os.clock() - begun
end
table.sort(took)
print("ROUNDS " .. math.floor(200000 / took[#took // 2] / 1000))
