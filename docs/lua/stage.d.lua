---@meta
-- The API of STAGE for editors that read LuaLS or EmmyLua annotations. docs/lua.md tells what each call does.
-- A test of stage-lua holds it against what a script finds.

---What can be sent: nil, booleans, numbers, strings, tables of these, and functions of a script.
---@alias stage.Value any

---@class stage
---@field snapshot stage.Snapshot
stage = {}

---Registers a handler for messages, in place of an earlier one of the same id. An id that ends in a dot hears all messages below it.
---Without an id, a new one is made. With nil in place of the function the handler is removed.
---@param id string
---@param fn function|nil gets the bound arguments, then those of the message; what it returns is the reply
---@param ... any bound arguments
---@return string id
---@overload fun(fn: function, ...: any): string
function stage.waitfor(id, fn, ...) end

---Registers a handler for one message.
---@param id string
---@param fn function
---@param ... any bound arguments
---@return string id
function stage.once(id, fn, ...) end

---Calls a function, or a handler of this VM by its id, as part of the handler that runs.
---@param what function|string
---@param ... any
---@return any ...
function stage.call(what, ...) end

---Runs a module of this script once, and returns what it returned.
---@param name string `lib.money` is lib/money.lua beside the script
---@param fn? fun(value: any) gets its value
---@return any value
function stage.require(name, fn) end

---The newest value of a module, which is run again when its file changes.
---@param name string `lib.money` is lib/money.lua beside the script
---@param fn? fun(new: any, old: any) gets its value, and each new one
---@return any value
function stage.load(name, fn) end

---An address with options: `{ "shop:price", idempotent = true }`.
---@class stage.Address
---@field [1] string
---@field idempotent? boolean it may run twice, so it is sent once more if the link breaks before its end is known

---Sends a message and goes on. With nil as the address: replies now to whoever sent the message that this handler handles, and in a
---ticket's callback extends the ticket by so many milliseconds.
---@param address string|stage.Address|nil `[scope][stage:]message[=reply][!failure]`
---@param ... stage.Value
function stage.signal(address, ...) end

---Sends a message and waits for the reply.
---@param address string|stage.Address
---@param ... stage.Value
---@return any ... results
function stage.ask(address, ...) end

---Runs a function on a worker: one at a time per key within the process, in order of arrival. A number above 0 that it returns
---runs it again after so many milliseconds.
---@param key integer|string 0 is no key
---@param fn function travels as text, with copies of the locals that it uses
---@param ... stage.Value
---@return true? ok nil if a queue is full
---@return string? reason
function stage.submit(key, fn, ...) end

---Runs a function in this VM after so many milliseconds, and again while it returns a number above 0.
---@param ms number
---@param fn function
---@param ... any
---@return stage.Task
function stage.addtask(ms, fn, ...) end

---Seconds since the node started, by a clock that only goes forward.
---@return number
function stage.clock() end

---Seconds since 1970 with their fraction, by the machine's clock.
---@return number
function stage.now() end

---Shows a value as text, tables with all that is in them.
---@param value any
---@return string
function stage.dump(value) end

---@class stage.Snapshot
local snapshot = {}

---From here on this handler sees the newest shared variables.
function snapshot.refresh() end

---@class stage.Task
local task = {}

---Stops the task.
---@return boolean in_time
function task:cancel() end

---@class thread
---@field id string? in a function given to thread.new: its id
thread = {}

---Runs a function on a worker; it may report back.
---@param fn function
---@param ... stage.Value
---@return stage.Thread
function thread.new(fn, ...) end

---In a function given to thread.new: tells whoever waits for it.
---@param ... stage.Value
function thread.signal(...) end

---@class stage.Thread
---@field id string
---@field waitfor fun(fn: function, ...: any) `fn` hears what the thread signals and returns

---@class process
---@field id integer of the operating system
---@field node string the node's name
---@field args string[] the words of the command line
---@field ["$#route"] stage.Route
---@field [string] any a setting of stage.json: `process["$%key"]`
process = {}

---@class stage.Route
---@field state "joined"|"held"|"draining"|"isolated"|"probing"
---@field threshold_ms number
---@field baseline_ms number
---@field delay_ms number

---@class logger
logger = {}

---@param ... any
function logger.debug(...) end

---@param ... any
function logger.info(...) end

---@param ... any
function logger.warn(...) end

---@param ... any
function logger.error(...) end

---@class json
json = {}

---@param value stage.Value tables with the keys 1 to n, and empty ones, are arrays
---@return string
function json.encode(value) end

---@param text string
---@return any value null becomes nil
function json.decode(text) end

---@class db
---@field [string] stage.Database the databases of `#db`
db = {}

---@param name string of `#db`
---@return stage.Database
function db.open(name) end

---Bytes that the database is to take as bytes, even where they could be text.
---@param bytes string
---@return any parameter
function db.blob(bytes) end

---@class stage.Statements
local statements = {}

---@param sql string
---@param ... any bound to $1, $2 or ?
---@return table<string, any>[] rows
function statements:query(sql, ...) end

---@param sql string
---@param ... any
---@return table<string, any>? row the first, or nil
function statements:one(sql, ...) end

---@param sql string
---@param ... any
---@return integer changed
---@return integer? last_id
function statements:execute(sql, ...) end

---@class stage.Transaction: stage.Statements

---@class stage.Database: stage.Statements
local database = {}

---For results of any size.
---@param sql string
---@param ... any
---@return fun(): table<string, any>? rows
function database:rows(sql, ...) end

---What `fn` does takes effect when it returns, and not at all if it raises an error.
---@param fn fun(tx: stage.Transaction, ...: any): ...
---@param ... any
---@return any ... results of fn
function database:transaction(fn, ...) end

---@class stage.Request
---@field url? string
---@field method? string
---@field headers? table<string, string>
---@field body? string
---@field json? any
---@field timeout? number seconds
---@field max_bytes? integer
---@field follow? boolean
---@field stream? boolean

---@class stage.Answer
---@field status integer
---@field headers table<string, string> by their names in lower case
---@field body string
---@field chunks fun(): string? with `stream`, in place of the body

---@class http
http = {}

---@param options stage.Request
---@return stage.Answer
function http.request(options) end

---@param url string
---@param options? stage.Request
---@return stage.Answer
function http.get(url, options) end

---@param url string
---@param body? string|table a table goes as JSON
---@param options? stage.Request
---@return stage.Answer
function http.post(url, body, options) end

---Updates a shared variable, or one entry of a shared table: `fn` gets the old value and returns the new one. It may run again, so it
---has no other effects.
---@param name string
---@param fn fun(old: any): any
---@return any new
---@overload fun(name: string, key: string|number|boolean, fn: fun(old: any): any): any
function __(name, fn) end

---Waits without holding a thread; other handlers run meanwhile.
---@param seconds number
function sleep(seconds) end

---In a handler: the message that it handles. Elsewhere nil.
---@type stage.Message
_WAITFOR = nil

---@class stage.Message
---@field id string
---@field node string where it came from
---@field stage string where it came from
---@field reply string? an address that takes the reply later, if the sender waits for one
---@field trace string? the handler's own traceparent, if what led to it is traced

---In a ticket's callback: the id of the ticket.
---@type string?
_TICKET = nil

---Declares shared variables: `_SANDBOX[""] = { "*NAME" }`.
---@type table<string, string[]>
_SANDBOX = {}

---Under `stage-node test`: a test of scripts.
---@class test
---@overload fun(name: string, fn: function)
test = {}

---Raises an error that shows both values if they differ; tables are compared by their content.
---@param actual any
---@param expected any
function test.equal(actual, expected) end
