%%! +S 2
%% So many calls of a gen_server that adds one, from 64 processes; prints the nanoseconds that they took.
-mode(compile).
-export([init/1, handle_call/3, handle_cast/2]).

init(State) -> {ok, State}.
handle_call({add, A}, _From, State) -> {reply, A + 1, State}.
handle_cast(_, State) -> {noreply, State}.

main([Text]) ->
    Each = list_to_integer(Text) div 64 + 1,
    {ok, Server} = gen_server:start(?MODULE, none, []),
    Self = self(),
    Start = erlang:monotonic_time(nanosecond),
    [spawn(fun() -> call(Server, Each), Self ! done end) || _ <- lists:seq(1, 64)],
    [receive done -> ok end || _ <- lists:seq(1, 64)],
    Took = erlang:monotonic_time(nanosecond) - Start,
    io:format("~b~n", [Took * list_to_integer(Text) div (64 * Each)]).

call(_, 0) -> ok;
call(Server, N) ->
    _ = gen_server:call(Server, {add, N}),
    call(Server, N - 1).
