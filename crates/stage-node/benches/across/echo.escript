%%! -setcookie stage-bench
%% A gen_server that echoes, and so many calls of it from 64 processes of another node; prints the nanoseconds that they took.
-mode(compile).
-export([init/1, handle_call/3, handle_cast/2]).

init(State) -> {ok, State}.
handle_call(Text, _From, State) -> {reply, Text, State}.
handle_cast(_, State) -> {noreply, State}.

main(["serve"]) ->
    {ok, _} = gen_server:start({local, echo}, ?MODULE, none, []),
    io:format("ready~n"),
    io:get_line("");
main(["call", Node, Text]) ->
    Server = {echo, list_to_atom(Node)},
    Each = list_to_integer(Text) div 64 + 1,
    Body = binary:copy(<<"x">>, 128),
    Body = gen_server:call(Server, Body),
    Self = self(),
    Start = erlang:monotonic_time(nanosecond),
    [spawn(fun() -> call(Server, Body, Each), Self ! done end) || _ <- lists:seq(1, 64)],
    [receive done -> ok end || _ <- lists:seq(1, 64)],
    Took = erlang:monotonic_time(nanosecond) - Start,
    io:format("~b~n", [Took * list_to_integer(Text) div (64 * Each)]).

call(_, _, 0) -> ok;
call(Server, Body, N) ->
    _ = gen_server:call(Server, Body),
    call(Server, Body, N - 1).
