stage.waitfor("echo", function(text) return text end)
