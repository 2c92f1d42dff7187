-- `http`: what a request and its answer are to a script.
local host, http, given = ...
local error, pairs, type = error, pairs, type

-- Sends a request; the answer has `status`, `headers` by their names in lower case, and `body`, or with
-- `stream` an iterator `chunks` in its place.
function http.request(options)
  if type(options) ~= "table" then
    error("bad argument #1 to 'request' (table expected, got " .. type(options) .. ")", 2)
  end
  local answer = {}
  if options.stream then
    local handle
    answer.status, answer.headers, handle = given(host.begin(options))
    answer.chunks = function() return given(host.chunk(handle)) end
  else
    answer.status, answer.headers, answer.body = given(host.whole(options))
  end
  return answer
end

local function with(method, url, options, body)
  local all = {}
  for key, value in pairs(options or {}) do all[key] = value end
  all.method, all.url, all.body = method, url, body or all.body
  return http.request(all)
end

function http.get(url, options) return with("GET", url, options) end

-- A table as body goes as JSON.
function http.post(url, body, options)
  if type(body) ~= "table" then return with("POST", url, options, body) end
  local all = { json = body }
  for key, value in pairs(options or {}) do all[key] = value end
  return with("POST", url, all)
end
