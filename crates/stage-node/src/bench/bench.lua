-- What `stage-node bench` calls. Carried as the stage `bench`, a node can be loaded from outside.
stage.waitfor("signal", function(body) return body end)

stage.waitfor("submit", function(key, body)
  local ok, why = stage.submit(key, function(reply, body) stage.signal(reply, body) end, _WAITFOR.reply, body)
  if not ok then error(why, 0) end
end)

stage.waitfor("ticket", function(body)
  stage.signal("ticket:bench=permit?told", _WAITFOR.reply, body)
end)
stage.waitfor("permit", function(reply, body) stage.signal(reply, body) end)
stage.waitfor("told", function(ok, why, reply)
  if not ok then stage.signal(reply, false, why) end
end)
stage.waitfor("limit", function(limit) stage.signal("ticket:@bench", limit) end)
