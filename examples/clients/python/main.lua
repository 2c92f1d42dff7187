-- What the clients of this folder's languages signal.
stage.waitfor("hello", function(who, card) return "hello " .. who, card.level end)
stage.waitfor("double", function(n) return 2 * n end)
stage.waitfor("subscribe", function() stage.signal(_WAITFOR.stage .. ":joined", "lee", { 1, 2.5 }) end)
